"""Laws over random calls, layouts, encodings and bytes.

The calls run before and after the rewrite against a stand-in for ``torch.nn`` whose classes record
the arguments they were built with: what a program passes is compared, not what its text looks like.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.util
import io
import tokenize
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from bncodemod.core import rewrite
from bncodemod.model import Status
from bncodemod.settings import STRATEGIES, Settings
from fixture_cases import RUNNABLE, source, timeless, with_status
from test_built_fixtures import groups_by_the_rule
from untouched import untouched

# Strategies that rewrite the norms which the source builds.
OF_SOURCE = tuple(s for s in STRATEGIES if s not in ("runtime-patch", "eval-mode"))
NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")

# BatchNorm's parameters in order, each with values that differ from its default.
PARAMETERS = {
    "eps": ("1e-3", "0.8", "eps", "10 ** -4"),
    "momentum": ("0.01", "None", "momentum", "1 - 0.9"),
    "affine": ("False", "not False", "affine"),
    "track_running_stats": ("True", "track", "not affine"),
    "device": ("'cpu'", "device"),
    "dtype": ("'half'",),
}
CHANNELS = (
    "64",
    "48",
    "width",
    "width * 2",
    "next_width()",
    "sizes[1]",
    "(20)",
    "max(w for w in sizes)",
)
PRELUDE = """\
# -*- coding: utf-8 -*-
'''Größe 🙂'''
from torch import nn

width, sizes, eps, momentum, affine, track, device = 24, (8, 16, 40), 1e-2, 0.3, True, True, 'meta'
"""
TEMPLATES = (
    "made = {}",
    "made = [{}, {}]",
    "made = nn.Sequential(nn.ReLU(), {}, nn.ReLU())",
    "made = {{'größe 🙂': {}}}",
    "made = (lambda c=8: {})()",
    "made = [{} for _ in range(2)]",
    "made = {} if track else {}",
    "made = ({})",
    "made = nn.Sequential({}, nn.Sequential({}, nn.ReLU()))",
    "def build(norm={}, *, other=1):\n    return norm\n\n\nmade = build()",
    "class Net:\n    '''Doc.'''\n\n    norm = {}\n\n    width = 1",
    "def build():\n\tif track:\n\t\treturn {}; other = 1\n\n\nmade = build()",
    "if track: made = {}; other = {}",
    "assert (made := {})",
    "{}",
    "made = nn.Sequential(*({} for _ in range(2)))",
    "'🙂'; made = {}; '🙂'",
    "made = nn.Sequential(\n    {},\n    # a comment\n    {},\n)",
)


@dataclass
class Recorder:
    """A stand-in for ``torch`` and ``torch.nn``: keeps what norms are built with, in order."""

    built: list[dict[str, Any]] = field(default_factory=list)
    widths: int = 0

    def batch_norm(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | None = None,
        dtype: str | None = None,
        *,
        bias: bool = True,
    ) -> object:
        record = {key: value for key, value in locals().items() if key != "self"}
        self.built.append({"kind": "batch", **record})
        return SimpleNamespace(num_features=num_features)

    def group_norm(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: str | None = None,
        dtype: str | None = None,
        *,
        bias: bool = True,
    ) -> object:
        record = {key: value for key, value in locals().items() if key != "self"}
        self.built.append({"kind": "group", **record})
        return SimpleNamespace(num_channels=num_channels)

    def next_width(self) -> int:
        self.widths += 1
        return 8 * self.widths

    def run(self, data: bytes) -> None:
        nn = SimpleNamespace(
            Module=object,
            GroupNorm=self.group_norm,
            Sequential=lambda *args: args,
            ReLU=lambda: None,
            **{name: functools.partial(self.batch_norm) for name in NORMS},
        )
        torch = SimpleNamespace(nn=nn, device=object, dtype=object)

        def load(name: str, *args: Any, **kwargs: Any) -> Any:
            if name.partition(".")[0] != "torch":
                return builtins.__import__(name, *args, **kwargs)
            from_list = args[2] if len(args) > 2 else kwargs.get("fromlist")
            return nn if name == "torch.nn" and from_list else torch

        scope = {
            "__builtins__": {**vars(builtins), "__import__": load},
            "__name__": "module",
            "next_width": self.next_width,
        }
        exec(compile(data, "module.py", "exec"), scope)


def record(data: bytes) -> Recorder:
    recorder = Recorder()
    recorder.run(data)
    return recorder


@dataclass(frozen=True)
class Arguments:
    """The argument list of a call, and whether a star hides some of it."""

    texts: tuple[str, ...]
    opaque: bool
    setup: str


@st.composite
def arguments(draw: st.DrawFn, number: int) -> Arguments:
    """Channels and some of the other parameters: by position, by keyword, in a star or stars.

    ``number`` is that of the call in its module.
    """
    order = list(PARAMETERS)
    values = {name: draw(st.sampled_from(choices)) for name, choices in PARAMETERS.items()}
    positional = order[: draw(st.sampled_from((0, 0, 0, 1, 2, 3, 4, 5, 6)))]
    rest = [name for name in order if name not in positional and draw(st.booleans())]
    draw(st.randoms(use_true_random=False)).shuffle(rest)
    channels = draw(st.sampled_from(CHANNELS))
    setup = ""
    opaque = False

    texts = [channels, *(values[name] for name in positional)]
    if positional and draw(st.integers(0, 7)) == 0:
        opaque = True
        setup += f"star_{number} = ({values[positional[-1]]},)\n"
        texts[-1] = f"*star_{number}"
    elif not positional and draw(st.integers(0, 4)) == 0:
        rest.insert(draw(st.integers(0, len(rest))), "num_features")
        values["num_features"] = channels
        texts = []

    spaces = draw(st.sampled_from(("=", " = ")))
    keywords = [f"{name}{spaces}{values[name]}" for name in rest if name != "num_features"]
    if "num_features" in rest:
        keywords.insert(rest.index("num_features"), f"num_features{spaces}{channels}")
    hidden = rest and rest[-1] != "num_features" and draw(st.integers(0, 5)) == 0
    if hidden:
        opaque = True
        keywords.remove(f"{rest[-1]}{spaces}{values[rest[-1]]}")
        setup += f"stars_{number} = {{'{rest[-1]}': {values[rest[-1]]}}}\n"
        keywords.append(f"**stars_{number}")
    return Arguments((*texts, *keywords), opaque, setup)


@st.composite
def layouts(draw: st.DrawFn, args: Arguments, name: str) -> str:
    """The call's text: on one line, hanging or mixed, with comments, commas and backslashes."""
    blank = st.sampled_from(
        ("", "", "", " ", "\n        ", "  # größe, (odd\n        ", " \\\n    ")
    )
    gap = st.sampled_from(
        (" ", " ", " ", "", "\n        ", "  # why 🙂\n        ", "\n\n    ", "\t")
    )
    out = (
        draw(st.sampled_from(("nn.", "nn.", "nn.", "nn .", "(nn).")))
        + name
        + draw(st.sampled_from(("", "", " ")))
    )
    out += "(" + draw(blank)
    for number, text in enumerate(args.texts):
        last = number == len(args.texts) - 1
        out += text + draw(st.sampled_from(("", "", "", " ")))
        if not last:
            out += "," + draw(gap)
        elif draw(st.booleans()):
            out += ","
    end = draw(blank)
    return out + end + ")"


@dataclass(frozen=True)
class Module:
    """A module's bytes, and what is known of its calls."""

    data: bytes
    opaque: bool


@st.composite
def modules(draw: st.DrawFn) -> Module:
    template = draw(st.sampled_from(TEMPLATES))
    places = template.replace("{{", "").count("{}")
    calls = [draw(arguments(number)) for number in range(places)]
    texts = [draw(layouts(call, draw(st.sampled_from(NORMS)))) for call in calls]
    setup = "".join(call.setup for call in calls)
    end = draw(st.sampled_from(("\n", "", "  # the end\n", "\n\n\n", "\nlast = '🙂'")))
    newline = draw(st.sampled_from(("\n", "\n", "\r\n", "\r")))
    bom = draw(st.sampled_from((b"", b"", b"\xef\xbb\xbf")))
    text = PRELUDE + setup + template.format(*texts) + end
    return Module(bom + text.replace("\n", newline).encode(), any(call.opaque for call in calls))


def comments(data: bytes) -> Counter[str]:
    normal = io.BytesIO(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    tokens = tokenize.tokenize(normal.readline)
    return Counter(token.string for token in tokens if token.type == tokenize.COMMENT)


many = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(modules(), st.sampled_from(OF_SOURCE))
def test_a_random_call_is_rewritten_and_nothing_else(module: Module, strategy: str) -> None:
    ast.parse(module.data)  # the generator writes Python
    result = rewrite(module.data, "module.py", Settings(strategy=strategy))
    assert result.errors == ()
    after = module.data if result.after is None else result.after
    ast.parse(after)
    if not module.opaque:
        assert [f.status for f in result.findings] == [Status.REWRITTEN] * len(result.findings)
        assert result.findings
    assert untouched(module.data, after, with_status(result, Status.REWRITTEN))
    assert comments(module.data) <= comments(after)

    again = rewrite(after, "module.py", Settings(strategy=strategy))
    assert again.after is None
    assert [(f.line, timeless(f.message)) for f in with_status(again, Status.OPEN)] == [
        (f.line_after, timeless(f.message)) for f in with_status(result, Status.OPEN)
    ]


@many
@given(modules())
def test_no_running_stats_changes_the_flag_and_no_other_argument(module: Module) -> None:
    result = rewrite(module.data, "module.py", Settings(strategy="no-running-stats"))
    after = module.data if result.after is None else result.after
    before_run, after_run = record(module.data), record(after)
    assert len(before_run.built) == len(after_run.built) > 0
    assert before_run.widths == after_run.widths
    for old, new in zip(before_run.built, after_run.built, strict=True):
        if with_status(result, Status.OPEN):
            assert new in (old, {**old, "track_running_stats": False})
        else:
            assert new == {**old, "track_running_stats": False}


@many
@given(modules())
def test_group_norm_keeps_channels_eps_affine_device_and_dtype(module: Module) -> None:
    result = rewrite(module.data, "module.py", Settings(strategy="group-norm"))
    after = module.data if result.after is None else result.after
    before_run, after_run = record(module.data), record(after)
    assert len(before_run.built) == len(after_run.built) > 0
    assert before_run.widths == after_run.widths
    for old, new in zip(before_run.built, after_run.built, strict=True):
        if new["kind"] == "batch":
            assert with_status(result, Status.OPEN)
            assert new == old
            continue
        assert new["num_channels"] == old["num_features"]
        assert new["num_groups"] == groups_by_the_rule(old["num_features"])
        for name in ("eps", "affine", "device", "dtype", "bias"):
            assert new[name] == old[name], name


ENCODINGS = ("utf-8", "latin-1", "cp1252", "iso-8859-15", "koi8-r", "shift_jis", "utf-8-sig")


@many
@given(
    st.lists(st.text(st.characters(exclude_characters="\0\r\n\\'", exclude_categories=["Cs"]))),
    st.sampled_from(ENCODINGS),
    st.sampled_from(("\n", "\r\n", "\r")),
    st.booleans(),
    st.sampled_from(STRATEGIES),
)
@example(["BatchNorm2d", "norm_layer"], "latin-1", "\r\n", False, "group-norm")
@example(["nn.BatchNorm2d(8)"], "utf-8-sig", "\r", True, "no-running-stats")
def test_a_file_without_a_site_comes_back_as_it_is(
    texts: list[str], encoding: str, newline: str, final: bool, strategy: str
) -> None:
    cookie = "utf-8" if encoding == "utf-8-sig" else encoding
    lines = [f"# -*- coding: {cookie} -*-", "import torch.nn as nn"]
    lines += [f"x = '{text}'  # {text}" for text in texts]
    try:
        data = (newline.join(lines) + newline * final).encode(encoding)
        assume(data.decode(encoding).encode(encoding) == data)
        ast.parse(data)
    except (UnicodeError, SyntaxError, ValueError):
        assume(False)
    assume(b"bncodemod" not in data)
    result = rewrite(data, "module.py", Settings(strategy=strategy))
    assert (result.after, result.findings, result.errors) == (None, (), ())


@many
@given(st.binary(), st.sampled_from(STRATEGIES))
@example(b"\0BatchNorm2d", "no-running-stats")
@example(b"# coding: nonsense\nnn.BatchNorm2d(8)", "no-running-stats")
@example(b"print 'BatchNorm2d'", "no-running-stats")
@example(b"\xff\xfenn.BatchNorm2d(8)", "group-norm")
@example(b"import torch.nn as nn\nnn.BatchNorm2d(8", "group-norm")
def test_bytes_that_are_no_program_never_raise(data: bytes, strategy: str) -> None:
    result = rewrite(data, "module.py", Settings(strategy=strategy))
    assert result.after is None
    assert len(result.errors) <= 1


@many
@given(st.sampled_from(RUNNABLE), st.data(), st.sampled_from(STRATEGIES))
def test_a_damaged_program_never_raises(case: str, draw: st.DataObject, strategy: str) -> None:
    """A fixture with a stretch cut out or put in again elsewhere: an error, or still Python."""
    data = source(case)
    start = draw.draw(st.integers(0, len(data)))
    stop = draw.draw(st.integers(start, min(len(data), start + 80)))
    at = draw.draw(st.integers(0, len(data)))
    piece = draw.draw(st.sampled_from((b"", data[start:stop])))
    cut = data[:start] + data[stop:]
    broken = cut[:at] + piece + cut[at:]
    try:
        # ast.parse lets a comment hold bytes that no import would accept.
        ast.parse(importlib.util.decode_source(broken))
        valid = True
    except (SyntaxError, ValueError):
        valid = False
    result = rewrite(broken, "module.py", Settings(strategy=strategy))
    if result.after is not None:
        ast.parse(result.after)
        assert rewrite(result.after, "module.py", Settings(strategy=strategy)).after is None
    if valid:
        assert result.errors == ()
