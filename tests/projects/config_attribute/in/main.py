from config import cfg


def modules():
    m = cfg.norm(4)
    assert isinstance(m, cfg.norm)
    return [m]
