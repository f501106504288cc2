def make(norm):
    return norm(8, track_running_stats=True)
