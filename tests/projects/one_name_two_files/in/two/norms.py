Norm = None
