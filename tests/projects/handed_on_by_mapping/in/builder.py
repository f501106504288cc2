"""Builds models of any class."""


def build(model_class, **kwargs):
    return model_class(**kwargs)
