from torch.nn import SyncBatchNorm as Norm
