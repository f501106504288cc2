OPTIONS = {"eps": 1e-3, "track_running_stats": True}
CALLED = dict(track_running_stats=True)
OFF = dict(track_running_stats=False)
