"""Builds what was rewritten and runs it under ``torch.func.vmap``: the only part that runs code.

The driver (this process) imports no torch. Worker processes import the modules, build candidates
and check them; ``examine.py`` and what it uses run there and nowhere else.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bncodemod.verify.model import Example, Verification

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bncodemod.model import FileResult
    from bncodemod.verify.options import Options

__all__ = ["Example", "Verification", "verify_paths"]


def verify_paths(
    paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    options: Options | None = None,
    *,
    rewritten: Iterable[FileResult] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Import the modules below ``paths``, build what makes norms in them and run it under vmap.

    ``options`` (``bncodemod.verify.options.Options``) are those of ``[tool.bncodemod.verify]`` in
    the nearest pyproject.toml if none are given. ``rewritten`` are the results of a sweep that has
    just written: only what it wrote is then to be shown. ``on_progress`` is called with the number
    of modules done and of all. What cannot be read, as what is not there, is ``unread`` in the
    result.

    Raises ConfigurationError where pyproject.toml cannot be used, and CannotVerify where torch or
    the device is missing.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    from bncodemod.settings import load_configuration
    from bncodemod.verify.options import read_options
    from bncodemod.verify.run import verify

    configuration = load_configuration(paths)
    options = options or read_options(configuration)
    return verify(paths, configuration, options, rewritten=rewritten, on_progress=on_progress)
