"""Measures segmentation_models_pytorch for ``codemod/bncodemod/catalog/smp.json``.

``python tests/catalog/regenerate_smp.py`` builds every architecture and every encoder and writes
the file anew; ``--check`` only says whether it would change.
"""

# ruff: noqa: E402  (torchvision can be imported only once torchvision_import has run)
from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator
from typing import Any

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[n]) for n in (0, 1)]

import torchvision_import

torchvision_import.prepare()

import segmentation_models_pytorch as smp
from measuring import attempt, dump, paths, position, tracked, without_defaults, write

FILE, KEY = "smp.json", "callables"
PARAMETER = "decoder_use_norm"
NOT_TRACKING = {"type": "batchnorm", "track_running_stats": False}
PLAIN = "resnet18"


def encoders() -> Iterator[str]:
    """The encoders that hold no batch norm."""
    for name in sorted(smp.encoders.encoders):
        built = attempt(smp.encoders.get_encoder, name, weights=None)
        assert not isinstance(built, Exception), (name, built)
        if not tracked(built):
            yield name


def decoder(architecture: Any, **extra: object) -> int:
    """How many norms with running stats stand outside the encoder."""
    encoder = "tu-vit_tiny_patch16_224" if architecture is smp.DPT else PLAIN
    built: Any = attempt(architecture, encoder_name=encoder, encoder_weights=None, **extra)
    assert not isinstance(built, Exception), (architecture, built)
    return len(tracked(built)) - len(tracked(built.encoder))


def entry(architecture: Any) -> dict[str, Any]:
    """What the argument for the decoder's norm does; the encoder is not reached by it."""
    name = f"{architecture.__module__}.{architecture.__qualname__}"
    modules = [value for key, value in sys.modules.items() if key.startswith(smp.__name__)]
    place = position(architecture, PARAMETER)
    fields: dict[str, Any] = {
        "name": name,
        "aliases": [path for path in paths(architecture, modules) if path != name],
    }
    before = decoder(architecture)
    if place is None:
        fields["effect"] = "none" if before else "no norms"
    else:
        left = decoder(architecture, **{PARAMETER: NOT_TRACKING})
        fields |= {"parameter": PARAMETER, "position": place}
        fields["effect"] = "partly" if left else "works"
    return without_defaults(fields)


def measure() -> Iterator[dict[str, Any]]:
    """The architectures, and last the encoders without batch norm."""
    for architecture in smp.MODEL_ARCHITECTURES_MAPPING.values():
        yield entry(architecture)
    yield {"encoders_without_norms": list(encoders())}


def rendered() -> str:
    """The text of the data file."""
    return dump(smp.__version__, KEY, measure())


def main() -> int:
    return write(FILE, smp.__version__, KEY, measure(), check="--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
