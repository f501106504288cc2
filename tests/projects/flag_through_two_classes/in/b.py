from a import A


class B(A):
    def __init__(self, channels, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        super().__init__(channels, eps, momentum, affine, track_running_stats)
