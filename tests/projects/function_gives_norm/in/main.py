from norms import get_class, get_norm


class Named(get_class("bn")):
    pass


def modules():
    return [get_norm("bn")(4), Named(5)]
