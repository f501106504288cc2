import norms  # noqa: F401
from config import norm_cfg
from registry import build_norm


def modules():
    return [build_norm(norm_cfg, 4)] if norm_cfg["type"] == "BN" else [None]
