try:
    from apex.parallel import SyncBatchNorm as Norm
except ImportError:
    from fallback import Norm


def modules():
    return [Norm(4)]
