"""Examines small sources as a worker does; the sites stand in brackets in them.

``⟪nn.BatchNorm2d(8)⟫`` is a site that builds a norm, ``⟨nn.BatchNorm2d⟩`` one that is a value.
"""

from __future__ import annotations

import ast
import itertools
import re
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bncodemod.core import rewrite
from bncodemod.settings import Settings
from bncodemod.verify.examine import examine
from bncodemod.verify.model import (
    CandidateResult,
    Check,
    CheckResult,
    Event,
    Example,
    Job,
    ModuleResult,
    Outcome,
    Site,
    SiteKind,
    SiteResult,
    Started,
    Timed,
    Unreached,
    Verdict,
)
from bncodemod.verify.sites import find_sites, owner_of
from bncodemod.verify.verdicts import judge

HEAD = """\
import torch
from functools import partial
from torch import nn
from torch.nn import functional as F
"""
_OPEN, _CLOSE = {"⟪": SiteKind.CALL, "⟨": SiteKind.VALUE}, "⟫⟩"
_numbers = itertools.count()


def parse(text: str, path: str) -> tuple[str, tuple[Site, ...]]:
    """The source without its brackets, and the sites that these mark, innermost first."""
    plain, opened, sites = "", [], []
    for character in text:
        if character in _OPEN:
            opened.append((_OPEN[character], len(plain)))
        elif character in _CLOSE:
            kind, start = opened.pop()
            sites.append(_site(plain, start, kind, path))
        else:
            plain += character
    body = ast.parse(plain).body
    return plain, tuple(replace(site, owner=owner_of(body, site.line)) for site in sites)


def _site(plain: str, start: int, kind: SiteKind, path: str) -> Site:
    (line, column), (end_line, end_column) = _place(plain, start), _place(plain, len(plain))
    owners = re.findall(r"^(?:class|def) (\w+)", plain[:start], re.MULTILINE)
    owner = owners[-1] if owners and column > 1 else ""
    text = plain[start:]
    return Site(path, line, column, end_line, end_column, kind, text, owner=owner)


def _place(plain: str, offset: int) -> tuple[int, int]:
    before = plain[:offset]
    return before.count("\n") + 1, offset - before.rfind("\n")


@dataclass(frozen=True)
class Examined:
    """What was said of a source."""

    job: Job
    events: list[Event]

    @property
    def module(self) -> ModuleResult:
        return next(event for event in self.events if isinstance(event, ModuleResult))

    @property
    def candidates(self) -> list[CandidateResult]:
        return [event for event in self.events if isinstance(event, CandidateResult)]

    @property
    def started(self) -> list[tuple[str, Check | None]]:
        return [(e.name, e.check) for e in self.events if isinstance(e, Started)]

    def of(self, name: str) -> CandidateResult:
        return next(candidate for candidate in self.candidates if candidate.name == name)

    def timed(self, name: str = "Net") -> Timed:
        """How long a candidate's runs take."""
        return next(e for e in self.events if isinstance(e, Timed) and e.name == name)

    def judged(self, kind: SiteKind) -> tuple[SiteResult, ...]:
        """What is said of each site of a kind."""
        modules = {self.job.path: self.module}
        reasons = {e.site: e.reason for e in self.events if isinstance(e, Unreached)}
        sites = [site for site in self.job.sites if site.kind is kind]
        return judge(sites, modules, self.candidates, "cpu", reasons)

    def verdicts(self, kind: SiteKind) -> list[tuple[str, Verdict]]:
        """The text of each site of a kind, without its last lines, and the verdict on it."""
        return [(r.site.text.partition("\n")[0], r.verdict) for r in self.judged(kind)]

    def reasons(self) -> list[str]:
        """Why sites were not reached, where the worker says so."""
        return [event.reason for event in self.events if isinstance(event, Unreached)]

    def reached(self) -> list[str]:
        """The texts of the sites that ran, in any candidate."""
        return sorted({site.text for each in self.candidates for site in each.sites})

    def result(self, check: Check, name: str = "Net") -> CheckResult:
        """The first result of a check."""
        return next(result for result in self.of(name).checks if result.check is check)

    def failed(self, name: str = "Net") -> list[CheckResult]:
        return [result for result in self.of(name).checks if result.outcome is Outcome.FAILED]


def examined(folder: Path, text: str, **settings: Any) -> Examined:
    """Write the source below ``folder`` and examine it; ``settings`` are those of the job."""
    path = _file(folder)
    plain, sites = parse(HEAD + textwrap.dedent(text), str(path))
    path.write_text(plain, encoding="utf-8")
    return _examined(path, sites, settings)


def as_found(folder: Path, text: str, **settings: Any) -> Examined:
    """The same with the sites that are found in the source."""
    path = _file(folder)
    data = (HEAD + textwrap.dedent(text)).encode()
    path.write_bytes(data)
    findings = rewrite(data, str(path), Settings()).findings
    return _examined(path, find_sites(data, str(path), findings), settings)


def _file(folder: Path) -> Path:
    return folder / f"examined_{next(_numbers)}.py"


def _examined(path: Path, sites: tuple[Site, ...], settings: dict[str, Any]) -> Examined:
    job = Job(str(path), path.stem, str(path.parent), sites, **settings)
    events: list[Event] = []
    examine(job, events.append)
    return Examined(job, events)


def net(norm: str, answer: str = "self.bn(x)") -> str:
    """The source of a ``Net`` with one norm, which is its ``self.bn``."""
    return f"""
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = {norm}

    def forward(self, x):
        return {answer}
"""


def model(body: str, *inputs: tuple[int, ...] | str) -> dict[str, Any]:
    """Settings that name the inputs of ``Net``."""
    return {"examples": (Example("Net", body, inputs),)}


def image(channels: int = 3, size: int = 6) -> dict[str, Any]:
    """Settings for a ``Net`` that takes images."""
    return model("", (2, channels, size, size))
