import inspect


class Registry(dict):
    def register_module(self, name, module):
        assert inspect.isclass(module)
        self[name] = module


NORMS = Registry()


def build_norm(cfg, channels):
    cfg = dict(cfg)
    cfg.pop("requires_grad", None)
    return NORMS[cfg.pop("type")](channels, **cfg)
