"""Which sites a norm is put down to: the expressions that built it, if it ran, and no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from examined import examined, image, parse

from bncodemod.verify.model import Check

REACH = frozenset({Check.META_VMAP})

CASES = {
    "two on one line, one of them runs": (
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = ⟪nn.BatchNorm2d(3)⟫, ⟪nn.GroupNorm(1, 3)⟫

            def forward(self, x):
                return self.a(x)
        """,
        ["nn.BatchNorm2d(3)"],
    ),
    "the other side of a condition": (
        """
        class Net(nn.Module):
            def __init__(self, group=False):
                super().__init__()
                self.a = ⟪nn.GroupNorm(1, 3)⟫ if group else ⟪nn.BatchNorm2d(3)⟫

            def forward(self, x):
                return self.a(x)
        """,
        ["nn.BatchNorm2d(3)"],
    ),
    "a line that is never executed": (
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = ⟪nn.BatchNorm2d(3)⟫

            def forward(self, x):
                return self.a(x)

        def replaced(net):
            net.a = ⟪nn.BatchNorm2d(4)⟫
        """,
        ["nn.BatchNorm2d(3)"],
    ),
    "a norm that is built and dropped": (
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = ⟪nn.BatchNorm2d(3)⟫
                self.a = ⟪nn.GroupNorm(1, 3)⟫

            def forward(self, x):
                return self.a(x)
        """,
        ["nn.GroupNorm(1, 3)"],
    ),
    "a block built beside the norm": (
        """
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.BatchNorm2d(3)

            def forward(self, x):
                return self.a(x)

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.parts = nn.ModuleList([Block(), ⟪nn.GroupNorm(1, 3)⟫])

            def forward(self, x):
                return self.parts[0](x)
        """,
        [],
    ),
    "a helper and its caller": (
        """
        def norm(channels):
            return ⟪nn.GroupNorm(1, channels)⟫

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = ⟪norm(3)⟫

            def forward(self, x):
                return self.a(x)
        """,
        ["nn.GroupNorm(1, channels)", "norm(3)"],
    ),
    "a call over several lines, after text that is not ASCII": (
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, é = "é", ⟪nn.BatchNorm2d(
                    3,
                    affine=False,
                )⟫
                self.b = é

            def forward(self, x):
                return self.b(x)
        """,
        ["nn.BatchNorm2d(\n            3,\n            affine=False,\n        )"],
    ),
    "a subclass": (
        """
        class Norm(nn.BatchNorm2d):
            def __init__(self, channels):
                ⟪super().__init__(channels, track_running_stats=False)⟫

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = ⟪Norm(3)⟫

            def forward(self, x):
                return self.a(x)
        """,
        ["Norm(3)", "super().__init__(channels, track_running_stats=False)"],
    ),
    "a copy": (
        """
        import copy

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                norm = ⟪nn.BatchNorm2d(3)⟫
                self.parts = nn.Sequential(copy.deepcopy(norm), copy.deepcopy(norm))

            def forward(self, x):
                return self.parts(x)
        """,
        ["nn.BatchNorm2d(3)"],
    ),
    "a call of a norm's function": (
        """
        class Net(nn.Module):
            def forward(self, x, other=False):
                if other:
                    return ⟪F.group_norm(x, 1)⟫
                return ⟪F.batch_norm(x, None, None, training=True)⟫
        """,
        ["F.batch_norm(x, None, None, training=True)"],
    ),
    "values: a class, a partial and a function": (
        """
        def norm(channels):
            return nn.GroupNorm(1, channels)

        class Net(nn.Module):
            def __init__(self, a=⟨nn.BatchNorm2d⟩, b=⟨partial(nn.GroupNorm, 1)⟩, unused=⟨norm⟩):
                super().__init__()
                c = ⟨norm⟩ if a else ⟨nn.InstanceNorm2d⟩
                self.parts = nn.Sequential(a(3), b(3), c(3))

            def forward(self, x):
                return self.parts(x)
        """,
        ["nn.BatchNorm2d", "norm", "partial(nn.GroupNorm, 1)"],
    ),
    "a value within a value": (
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = partial(⟨partial(nn.BatchNorm2d, eps=1e-3)⟩, momentum=0.2)(3)

            def forward(self, x):
                return self.a(x)
        """,
        ["partial(nn.BatchNorm2d, eps=1e-3)"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_reached(text: str, expected: list[str], tmp_path: Path) -> None:
    said = examined(tmp_path, text, checks=REACH, **image())
    assert not said.of("Net").error
    assert sorted(site.text for site in said.of("Net").sites) == expected


def test_the_same_text_in_two_places(tmp_path: Path) -> None:
    text = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = ⟪nn.BatchNorm2d(3)⟫
            self.b = ⟪nn.BatchNorm2d(3)⟫

        def forward(self, x):
            return self.b(x)
    """
    said = examined(tmp_path, text, checks=REACH, **image())
    assert [site.line - said.job.sites[0].line for site in said.of("Net").sites] == [1]


def test_sites_of_other_files(tmp_path: Path) -> None:
    other = tmp_path / "other_norms.py"
    plain, sites = parse(
        "from torch import nn\ndef norm(c):\n    return ⟪nn.GroupNorm(1, c)⟫\n", str(other)
    )
    other.write_text(plain)
    text = """
    from other_norms import norm

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = norm(3)

        def forward(self, x):
            return self.a(x)
    """
    said = examined(tmp_path, text, checks=REACH, other_sites=sites, **image())
    assert said.of("Net").sites == sites


LINES_ONLY = """\
import sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
from examined import examined, image
from test_recorder import CASES, REACH
for name in {names!r}:
    text, expected = CASES[name]
    assert examined(Path({folder!r}), text, checks=REACH, **image()).reached() == expected, name
"""


def test_without_columns(tmp_path: Path) -> None:
    """As Python 3.10 does, and any that runs with -X no_debug_ranges."""
    apart = "a call over several lines"  # of which 3.10 knows the first line alone
    names = [name for name in CASES if not name.startswith(apart)]
    source = LINES_ONLY.format(tests=str(Path(__file__).parent), names=names, folder=str(tmp_path))
    command = [sys.executable, "-X", "no_debug_ranges", "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
