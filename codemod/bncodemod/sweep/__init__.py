"""Many files: walk, run, write."""
