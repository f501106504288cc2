from init import init_weights
from norms import BatchNorm as Norm


def modules():
    found = [Norm(4), Norm(num_features=5)]
    for m in found:
        init_weights(m)
    return found
