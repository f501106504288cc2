def first(norm, other=None):
    return norm or other
