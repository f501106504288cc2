"""What training scripts save beside tensors: values, of classes that run no code of the file."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
from typing import Any

_PLAIN = (argparse.Namespace, pathlib.PosixPath)  # "args" and "output_dir" of many scripts
# Modules that were renamed, both ways: by numpy 2, and by Python 3.13.
_RENAMED = (
    ("numpy.core", "numpy._core"),
    ("numpy._core", "numpy.core"),
    ("pathlib", "pathlib._local"),
    ("pathlib._local", "pathlib"),
)
_NAMES_SINCE = "2.6"  # of torch: it takes classes by other names than their own


def allowed() -> contextlib.AbstractContextManager[Any]:
    """Lets ``weights_only=True`` read namespaces, paths, and numbers and arrays of numpy."""
    import torch
    from torch import serialization

    allow = getattr(serialization, "safe_globals", None)  # torch 2.5
    if allow is None:
        return contextlib.nullcontext()
    classes = [*_PLAIN, *_of_numpy()]
    if torch.__version__ >= _NAMES_SINCE:
        classes += [(each, name) for each in classes for name in _other_names(each)]
    allowing: contextlib.AbstractContextManager[Any] = allow(classes)
    return allowing


def _of_numpy() -> list[Any]:
    """What builds numbers and arrays, without arrays of objects."""
    try:
        import numpy
    except ImportError:
        return []
    builders = [value.__reduce__()[0] for value in (numpy.float64(0), numpy.zeros(0))]
    kinds = {type(numpy.dtype(code)) for code in numpy.typecodes["All"] if code != "O"}
    return [numpy.ndarray, numpy.dtype, *builders, *kinds]


def _other_names(each: Any) -> list[str]:
    """How other versions of Python and numpy call it."""
    own, name = each.__module__, each.__qualname__
    return [
        f"{one}{own.removeprefix(other)}.{name}"
        for one, other in _RENAMED
        if own == other or own.startswith(f"{other}.")
    ]
