from norms import Named


def is_named(module):
    return isinstance(module, Named)
