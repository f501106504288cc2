from norms import BatchNorm


def modules():
    return [BatchNorm(4), BatchNorm(5, eps=1e-3), BatchNorm(6, track_running_stats=True)]
