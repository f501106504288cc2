"""Odd spellings of the same few classes."""

import importlib

import pkg
from pkg \
    import Norm
from pkg.shifted import Alias as Renamed
from pkg.sized import Sized


def modules():
    return [
        Norm(8),
        pkg.Norm(8),
        pkg.norms.Scaled(8),
        Renamed(8),
        Sized(8),
        importlib.import_module("pkg.norms").Scaled(8),
        getattr(pkg.norms, "Scaled")(8),
    ]
