from torch.nn import functional as F
from torch.nn import functional as G

norm = F.batch_norm
