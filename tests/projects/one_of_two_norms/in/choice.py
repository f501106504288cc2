try:
    from no_such_package import Norm
except ImportError:
    from norms import Norm
