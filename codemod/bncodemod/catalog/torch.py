"""torch's normalisation layers with running statistics, their names and their signatures.

Signatures are those of torch 2.13; ``tests/catalog/test_torch.py`` compares them with the installed
torch. Older releases lack only the keyword ``bias``.
"""

from __future__ import annotations

from dataclasses import dataclass

FLAG = "track_running_stats"


@dataclass(frozen=True, slots=True)
class NormClass:
    """A layer that can hold ``running_mean`` and ``running_var``.

    ``parameters`` are its positional parameters in order; ``tracks`` is the default of
    ``track_running_stats``; ``dims`` is the rank of the spatial part of its input (0 for any).
    """

    name: str
    family: str
    parameters: tuple[str, ...]
    tracks: bool
    lazy: bool
    dims: int

    @property
    def abstract(self) -> bool:
        """Whether it is only a base of others."""
        return self.name.startswith("_")

    @property
    def qualified(self) -> str:
        """The name under which torch documents it."""
        return f"torch.nn.{self.name}"


def _classes() -> dict[str, NormClass]:
    tail = ("eps", "momentum", "affine", FLAG, "device", "dtype")
    sync = ("num_features", "eps", "momentum", "affine", FLAG, "process_group", "device", "dtype")
    found = {
        "SyncBatchNorm": NormClass("SyncBatchNorm", "batch", sync, True, False, 0),
        # Abstract: a base class and a class to test against, never built itself.
        "_BatchNorm": NormClass("_BatchNorm", "batch", ("num_features", *tail), True, False, 0),
        "_NormBase": NormClass("_NormBase", "batch", ("num_features", *tail), True, False, 0),
    }
    for dims in (1, 2, 3):
        for family in ("Batch", "Instance"):
            name = f"{family}Norm{dims}d"
            key = family.lower()
            found[name] = NormClass(
                name, key, ("num_features", *tail), family == "Batch", False, dims
            )
            found[f"Lazy{name}"] = NormClass(f"Lazy{name}", key, tail, True, True, dims)
    return found


NORM_CLASSES = _classes()
FLAG_POSITION = NORM_CLASSES["BatchNorm2d"].parameters.index(FLAG)

_PACKAGES = (
    "torch.nn",
    "torch.nn.modules",
    "torch.nn.modules.batchnorm",
    "torch.nn.modules.instancenorm",
)


@dataclass(frozen=True, slots=True)
class Functional:
    """A function that updates running buffers: its parameters by position and name."""

    running_mean: tuple[int, str]
    running_var: tuple[int, str]
    flag: tuple[int, str]
    flag_default: bool | None


def _functional(first: int, flag: str, default: bool | None) -> Functional:
    mean, var = (first, "running_mean"), (first + 1, "running_var")
    return Functional(mean, var, (5, flag), default)


FUNCTIONS = {
    "torch.nn.functional.batch_norm": _functional(1, "training", False),
    "torch.nn.functional.instance_norm": _functional(1, "use_input_stats", True),
    "torch.batch_norm": _functional(3, "training", None),
    "torch.native_batch_norm": _functional(3, "training", None),
    "torch.instance_norm": _functional(3, "use_input_stats", None),
}

# Other frameworks have an ``nn`` or a ``BatchNorm`` of their own.
OTHER_FRAMEWORKS = frozenset(
    {
        "chainer",
        "equinox",
        "flax",
        "haiku",
        "jax",
        "jittor",
        "keras",
        "megengine",
        "mindspore",
        "mlx",
        "mxnet",
        "oneflow",
        "paddle",
        "sklearn",
        "tensorflow",
        "tf_keras",
        "tflearn",
        "tinygrad",
    }
)


def norm_class(qualified: str) -> NormClass | None:
    """The layer that a qualified name denotes, whichever of torch's modules it is taken from."""
    package, _, name = qualified.rpartition(".")
    found = NORM_CLASSES.get(name)
    if found is None or package not in _PACKAGES:
        return None
    return found if not found.abstract or package.endswith("batchnorm") else None
