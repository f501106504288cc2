"""The cases of ``fixtures``, the modes in which they are rewritten, and what comes of it."""

from __future__ import annotations

import io
import itertools
import re
import sys
import tokenize
from functools import cache
from pathlib import Path

import pytest

from bncodemod.core import rewrite
from bncodemod.model import FileResult, Finding, Status
from bncodemod.settings import Settings

FIXTURES = Path(__file__).parent / "fixtures"

CASES = sorted(
    path.relative_to(FIXTURES).as_posix().removesuffix(".in.py")
    for path in FIXTURES.rglob("*.in.py")
)

RUNNABLE = [case for case in CASES if sys.version_info >= (3, 12) or not case.endswith("_py312")]

LINE_ENDING = re.compile(r"\r\n|\n|\r")

MODES = {
    "no-running-stats": Settings(),
    "group-norm": Settings("group-norm"),
    "runtime-patch": Settings("runtime-patch"),
    "keep-statistics": Settings("runtime-patch", patch="keep-statistics"),
    "patch-group-norm": Settings("runtime-patch", patch="group-norm"),
    "third-party": Settings(third_party="patch"),
    "eval-mode": Settings("eval-mode"),
    "auto": Settings("auto"),
}

OF_SOURCE = ("no-running-stats", "group-norm")

# Rules whose cases build or run whole models: what is written around these matters to no other.
OF_MODELS = (
    "eval_call",
    "freeze",
    "functorch_import",
    "model_zoo",
    "monai_norm",
    "runtime_patch",
    "smp_decoder",
    "strict_load",
    "swallowed_norm_layer",
    "timm_model",
    "torchvision_builder",
)


def matters(case: str, mode: str) -> bool:
    return mode in OF_SOURCE or case.startswith(OF_MODELS)


every_case_and_mode = pytest.mark.parametrize(
    ("case", "mode"), [(c, m) for c in RUNNABLE for m in MODES if matters(c, m)]
)


def source(case: str) -> bytes:
    return (FIXTURES / f"{case}.in.py").read_bytes()


@cache
def rewritten(case: str, mode: str) -> FileResult:
    return rewrite(source(case), f"{case}.py", MODES[mode])


@cache
def rewritten_twice(case: str, mode: str) -> FileResult:
    return rewrite(output(case, mode), f"{case}.py", MODES[mode])


def output(case: str, mode: str) -> bytes:
    after = rewritten(case, mode).after
    return source(case) if after is None else after


def decode(data: bytes) -> str:
    """The text, with its line endings as they are."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding)


def lines_of(text: str) -> list[str]:
    """The lines with their endings; a form feed ends no line."""
    ends = [0, *(match.end() for match in LINE_ENDING.finditer(text)), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(ends) if a < b]


def with_status(result: FileResult, status: Status) -> list[Finding]:
    return [finding for finding in result.findings if finding.status is status]


def timeless(message: str) -> str:
    """The message without the numbers of lines, which move when a file is rewritten."""
    return re.sub(r"\blines? \d+", "line", message)
