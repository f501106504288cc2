"""Rewrites every batch norm of a code base so that ``torch.func.vmap`` runs over it."""

__version__ = "0.1.0"
