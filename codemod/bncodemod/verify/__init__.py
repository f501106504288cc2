"""Builds what was rewritten and runs it under ``torch.func.vmap``: the only part that runs code.

The driver (this process) imports no torch. Worker processes import the modules, build candidates
and check them; ``examine.py`` and what it uses run there and nowhere else.
"""
