"""Measures the installed MONAI for ``codemod/bncodemod/catalog/monai.json``.

``python tests/catalog/regenerate_monai.py`` writes the file anew; ``--check`` only says whether it
would change. Every network, block and layer function is built on the meta device.
"""

# ruff: noqa: E402  (torchvision can be imported only once torchvision_import has run)
from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import pathlib
import pkgutil
import sys
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[n]) for n in (0, 1)]

import torchvision_import

torchvision_import.prepare()

import monai
from measuring import attempt, dump, paths, position, tracked, without_defaults, write
from torch import nn

PACKAGES = ("monai.networks.nets", "monai.networks.blocks", "monai.networks.layers")
PARAMETERS = ("norm", "norm_name", "norm_type")
TRACKING, NOT_TRACKING = "batch", ("batch", {"track_running_stats": False})
CHANNELS = ("channels", "out_channels", "out_channel", "out_chns", "in_channels")
FILE, KEY = "monai.json", "callables"

# What a required parameter of that name gets, and what some callables need beside it.
COMMON: dict[str, Any] = {
    "act": "relu",
    "bias": True,
    "blocks_args_str": ["r1_k3_s11_e1_i32_o16_se0.25"],
    "block": "basic",
    "block_inplanes": (8, 16, 32, 64),
    "bn_size": 2,
    "c": 8,
    "c_prev": 8,
    "cat_chns": 4,
    "channels": (8, 16, 32),
    "classes": 2,
    "conv_out_channels": 8,
    "decoder_channels": (16, 8),
    "depth": 2,
    "dropout": 0.0,
    "dropout_prob": 0.0,
    "encoder_channels": (4, 8, 16),
    "expand_ratio": 1,
    "extract_levels": (0, 1),
    "final_conv_channels": 4,
    "groups": 1,
    "growth_rate": 4,
    "image_size": (32, 32),
    "img_size": 32,
    "in_channel": 4,
    "in_channels": 4,
    "in_chns": 4,
    "in_planes": 8,
    "in_shape": (4, 32, 32),
    "inplanes": 8,
    "input_image_size": (32, 32),
    "input_shape": (32, 32),
    "interp_mode": "nearest",
    "is_pad": True,
    "align_corners": None,
    "kernel_size": 3,
    "label_nc": 3,
    "latent_shape": (8,),
    "latent_size": 4,
    "layers": (1, 1, 1, 1),
    "model_name": "efficientnet-b0",
    "backbone": "efficientnet-b0",
    "n_chns_1": 4,
    "n_chns_2": 4,
    "n_chns_3": 4,
    "name": TRACKING,
    "nchan": 8,
    "nconvs": 1,
    "norm": TRACKING,
    "norm_name": TRACKING,
    "norm_nc": 8,
    "norm_type": TRACKING,
    "num_channel_initial": 8,
    "num_channels": 8,
    "num_d": 2,
    "num_features": 8,
    "num_input_features": 8,
    "num_layer": 1,
    "num_layers_d": 3,
    "num_output_features": 8,
    "out_channel": 8,
    "out_channels": 8,
    "out_chns": 8,
    "out_shape": (2,),
    "padding": 1,
    "f_int": 8,
    "f_g": 8,
    "f_l": 8,
    "planes": 8,
    "pre_conv": None,
    "rate": 0,
    "reduction": 2,
    "se_ratio": 0.25,
    "spatial_dims": 2,
    "start_shape": (8, 4, 4),
    "stride": 1,
    "strides": (2, 2),
    "unet_out_channels": 4,
    "upsample": "nontrainable",
    "upsample_kernel_size": 2,
}
SE_NETS = ("Net154", "ResNet50", "ResNet101", "ResNet152", "ResNext50", "ResNext101")
SPECIAL: dict[str, dict[str, Any]] = {
    "ADN": {"in_channels": 8, "norm_dim": 2},
    "AutoEncoder": {"channels": (8, 16)},
    "Daf3dASPP": {"spatial_dims": 3, "in_channels": 4, "conv_out_channels": 8},
    "Daf3dResNetBottleneck": {"in_planes": 32, "planes": 32, "spatial_dims": 3},
    "Daf3dResNetDilatedBottleneck": {"in_planes": 32, "planes": 32, "spatial_dims": 3},
    "DynUNet": {
        "kernel_size": (3, 3, 3),
        "strides": (1, 2, 2),
        "upsample_kernel_size": (2, 2),
    },
    "FCN": {"pretrained": False},
    "MCFCN": {"pretrained": False},
    "EfficientNetBN": {"pretrained": False},
    "EfficientNetBNFeatures": {"pretrained": False},
    "EfficientNetEncoder": {"pretrained": False},
    "LocalNetResidualBlock": {"out_channels": 4},
    "MultiScalePatchDiscriminator": {"channels": 8},
    "PatchDiscriminator": {"channels": 8},
    "ResidualBlock": {"out_channels": 4},
    "VarAutoEncoder": {"channels": (8, 16)},
    "VoxelMorphUNet": {"channels": (8, 8, 16, 16)},
    **{f"SE{rest}": {"spatial_dims": 2, "in_channels": 3} for rest in SE_NETS},
    "SENet": {"block": "se_resnet_bottleneck", "layers": (1, 1, 1, 1)},
}


@cache
def modules() -> tuple[ModuleType, ...]:
    """Every module of MONAI's networks, blocks and layers, the packages included."""
    found = []
    for name in PACKAGES:
        package = importlib.import_module(name)
        found.append(package)
        below = pkgutil.walk_packages(package.__path__, f"{name}.")
        found += [importlib.import_module(info.name) for info in below]
    return tuple(found)


@cache
def candidates() -> dict[str, Any]:
    """The public classes of modules, and functions that may take a norm, by canonical name."""
    found = {}
    for module in modules():
        for value in vars(module).values():
            if not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            name = f"{value.__module__}.{value.__qualname__}"
            public = name.startswith("monai.networks.") and value.__qualname__[:1] not in "_<"
            is_module = inspect.isclass(value) and issubclass(value, nn.Module)
            if public and (is_module or (inspect.isfunction(value) and norm_parameters(value))):
                found[name] = value
    return dict(sorted(found.items()))


def norm_parameters(value: Any) -> list[str]:
    """The parameters that may say which norm; ``norm`` where any keyword is taken."""
    try:
        parameters = inspect.signature(value).parameters
    except ValueError:
        return []
    named = [name for name in PARAMETERS if name in parameters]
    if value is monai.networks.layers.get_norm_layer:
        return ["name"]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return named or (["norm"] if takes_any else [])


def recipe(value: Any) -> dict[str, Any]:
    """Arguments that build a callable."""
    given = {
        name: COMMON[name]
        for name, parameter in inspect.signature(value).parameters.items()
        if parameter.default is parameter.empty and name in COMMON
    }
    return {**given, **SPECIAL.get(value.__name__, {})}


def build(value: Any, **extra: Any) -> list[Any] | None:
    """The norms with running stats of what a call builds; None where it raises."""
    with contextlib.redirect_stdout(io.StringIO()):
        built = attempt(value, **{**recipe(value), **extra})
    return None if isinstance(built, Exception) else tracked(built)


def default_of(value: Any, parameter: str) -> str | None:
    """The default of the norm parameter as source, followed through ``**kwargs``; None: none."""
    found = inspect.signature(value).parameters.get(parameter)
    if found is None:
        return repr(TRACKING)
    return None if found.default is found.empty else repr(found.default)


def entry(name: str, value: Any) -> dict[str, Any] | None:
    """What a callable does with a norm argument; None where it builds no batch norm."""
    default = build(value)
    fields: dict[str, Any] = {"name": name, "aliases": aliases(name, value)}
    for parameter in norm_parameters(value):
        asked = build(value, **{parameter: TRACKING})
        if not asked:
            continue
        left = build(value, **{parameter: NOT_TRACKING})
        assert left is not None, f"{name} does not take {NOT_TRACKING}"
        required = default_of(value, parameter) is None
        fields |= {
            "parameter": parameter,
            "position": position(value, parameter),
            "effect": "partly" if left else "works",
            "default": default_of(value, parameter) if default and not required else None,
        }
        break
    else:
        if not default:
            return None
        fields["effect"] = "none"
    fields |= weights(value)
    if fields["effect"] == "works":
        fields |= channels(value, fields["parameter"])
    return without_defaults(fields)


def channels(value: Any, parameter: str) -> dict[str, Any]:
    """The parameter that is the number of channels of every norm, where there is one."""
    names = inspect.signature(value).parameters
    for name in (n for n in CHANNELS if n in names):
        for number in (24, 40):
            found = build(value, **{parameter: TRACKING, name: number})
            if not found or {norm.num_features for norm in found} != {number}:
                break
        else:
            return {"channels": name, "channels_position": position(value, name)}
    return {}


def aliases(name: str, value: Any) -> list[str]:
    return [path for path in paths(value, modules()) if path != name]


def weights(value: Any) -> dict[str, Any]:
    """The parameter that asks for pretrained weights, and whether it does by default."""
    found = inspect.signature(value).parameters.get("pretrained")
    if found is None:
        return {}
    return {
        "weights": "pretrained",
        "weights_position": position(value, "pretrained"),
        "pretrained_by_default": found.default is True,
    }


def measure() -> Iterator[dict[str, Any]]:
    """The entries of the data file."""
    for name, value in candidates().items():
        fields = entry(name, value)
        if fields is not None:
            yield fields


def rendered() -> str:
    """The text of the data file."""
    return dump(monai.__version__, KEY, measure())


def main() -> int:
    return write(FILE, monai.__version__, KEY, measure(), check="--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
