def make(c, norm):
    return norm(c, track_running_stats=True)
