from layers import BatchNorm1d


def modules():
    return [BatchNorm1d(input_size=4)]
