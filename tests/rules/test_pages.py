"""Every rule's page shows a before and an after, and they are what the core does."""

from __future__ import annotations

import inspect
import re
import textwrap

import pytest

from bncodemod.core import rewrite
from bncodemod.rules import all_rules, pages
from bncodemod.settings import Settings

PRELUDE = """\
import timm
import torch
import torch.nn as nn
import torch.nn.functional as F
from functools import partial
from torch.func import jacrev, vmap
from torch.optim.swa_utils import update_bn
from torchvision import models
from torchvision.models import resnet18
from torchvision.models.segmentation import deeplabv3_resnet50

"""
# Hazards of one strategy; the others are found under both.
ONLY_UNDER = {
    "BN113": "eval-mode",
    "BN206": "no-running-stats",
    "BN305": "group-norm",
    "BN306": "group-norm",
    "BN307": "group-norm",
    "BN308": "no-running-stats",
    "BN309": "group-norm",
    "BN313": "no-running-stats",
}
# BN001 is found by the engine, BN207 only in a project of several files.
ELSEWHERE = ("BN001", "BN207")
OF_SOURCE = ("no-running-stats", "group-norm")
OTHERS = [
    (rule.code, strategy)
    for rule in all_rules()
    for strategy in ("runtime-patch", "eval-mode")
    if f"After ({strategy}):" in pages()[rule.code]
]
CODES = [rule.code for rule in all_rules()]


def example(page: str, heading: str) -> str:
    """The indented code below a heading such as ``Before:``."""
    found = re.search(rf"^{re.escape(heading)}\n((?: {{4}}.*\n|\n)+)", page + "\n", re.MULTILINE)
    return textwrap.dedent(found[1]).strip("\n") if found else ""


def in_a_file(code: str) -> str:
    """The example where it can stand: what uses ``self`` or ``return`` is put into a function."""
    imports = "" if code.startswith(("from functorch", "from pkg")) else PRELUDE
    if code.startswith("return "):
        code = "def build(c):\n" + textwrap.indent(code, "    ")
    return f"{imports}{code}\n"


@pytest.mark.parametrize("code", CODES)
def test_a_page_has_a_title_a_before_and_a_remedy(code: str) -> None:
    page = inspect.cleandoc(pages()[code])
    assert page.splitlines()[0].endswith(".")
    assert example(page, "Before:")
    assert re.search(r"^By hand: ", page, re.MULTILINE)


@pytest.mark.parametrize("strategy", OF_SOURCE)
@pytest.mark.parametrize("code", [c for c in CODES if c not in ELSEWHERE])
def test_the_core_does_what_the_page_shows(code: str, strategy: str) -> None:
    page = inspect.cleandoc(pages()[code])
    before = example(page, "Before:")
    after = next(
        filter(
            None,
            (
                example(page, heading)
                for heading in (f"After ({strategy}):", "After (both strategies):", "After:")
            ),
        ),
        "",
    )
    result = rewrite(in_a_file(before).encode(), "page.py", Settings(strategy=strategy))
    assert not result.errors
    if after:
        assert after in (result.after or result.before).decode()
        return
    found = code in {finding.code for finding in result.findings}
    assert found is (ONLY_UNDER.get(code, strategy) == strategy)


@pytest.mark.parametrize(("code", "strategy"), OTHERS)
def test_another_strategy_does_what_the_page_shows(code: str, strategy: str) -> None:
    page = inspect.cleandoc(pages()[code])
    before = in_a_file(example(page, "Before:")).encode()
    after = rewrite(before, "page.py", Settings(strategy)).after
    assert after is not None
    assert example(page, f"After ({strategy}):") in after.decode()


def test_every_code_has_a_page() -> None:
    assert set(CODES) <= set(pages())
    assert [code for code in pages() if code.startswith("BN9")] == [f"BN90{n}" for n in range(1, 7)]
