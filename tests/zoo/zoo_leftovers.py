"""The norms that a rewrite left, and whether an open finding stands where each is constructed."""

from __future__ import annotations

import ast
import os
import pathlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# Where the open finding stands: at the line that constructs the norm, at a line that leads there,
# at the class or def (bases, defaults) that one of these lines is in, elsewhere in the body of
# such a function (where it chooses the norm that it hands on), or nowhere.
COVERED = ("line", "chain", "header", "function", "none")


@dataclass
class Leftover:
    """A line that still constructs norms with running stats, or has another package do it."""

    path: str
    line: int
    source: str
    outside: str = ""
    norms: int = 0
    models: int = 0
    covered: str = "none"
    findings: list[str] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)  # of models


Definition = tuple[range, range, bool]  # lines of its head and of its body; is it a class


class OpenFindings:
    """Open findings by the lines that they cover in the rewritten files."""

    def __init__(self, findings: Sequence[dict[str, Any]], root: pathlib.Path) -> None:
        self._lines: dict[tuple[str, int], list[str]] = defaultdict(list)
        self._definitions: dict[str, list[Definition]] = {}
        self._root = root
        for finding in findings:
            if finding["status"] != "open":
                continue
            path = os.path.relpath(root / finding["path"], root)
            length = finding["end_line"] - finding["line"]
            for line in range(finding["line_after"], finding["line_after"] + length + 1):
                self._lines[path, line].append(finding["code"])

    def at(self, frame: Sequence[Any]) -> list[str]:
        path, first, last = frame
        return self._within(path, range(first, last + 1))

    def at_headers(self, frame: Sequence[Any]) -> list[str]:
        """Those at the first lines of the classes and functions that a frame's line is in."""
        return [
            code for header, _, _ in self._around(frame) for code in self._within(frame[0], header)
        ]

    def in_function(self, frame: Sequence[Any]) -> list[str]:
        """Those in the body of the innermost function that a frame's line is in."""
        bodies = [body for _, body, is_class in self._around(frame) if not is_class]
        return self._within(frame[0], min(bodies, key=len)) if bodies else []

    def _around(self, frame: Sequence[Any]) -> list[Definition]:
        path, line, _ = frame
        if path not in self._definitions:
            self._definitions[path] = definitions(self._root / path)
        return [found for found in self._definitions[path] if line in found[1]]

    def _within(self, path: str, lines: range) -> list[str]:
        return [code for line in lines for code in self._lines[path, line]]


def definitions(path: pathlib.Path) -> list[Definition]:
    """Every class and function of a file."""
    if not path.is_file():
        return []
    return [
        (
            range(node.lineno, node.body[0].lineno),
            range(node.body[0].lineno, end + 1),
            isinstance(node, ast.ClassDef),
        )
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (end := node.end_lineno)
    ]


def judge(chain: Sequence[Sequence[Any]], findings: OpenFindings) -> tuple[str, list[str]]:
    """Where the open finding stands that a norm's construction has; see COVERED."""
    places = (
        ("line", chain[:1], findings.at),
        ("chain", chain[1:], findings.at),
        ("header", chain, findings.at_headers),
        ("function", chain, findings.in_function),
    )
    for covered, frames, look in places:
        if codes := [code for frame in frames for code in look(frame)]:
            return covered, codes
    return "none", []


def leftovers(built: dict[str, Any], findings: OpenFindings, root: pathlib.Path) -> list[Leftover]:
    """The lines that construct norms with running stats, the uncovered first."""
    table: dict[tuple[str, int, str, str], Leftover] = {}
    models: dict[tuple[str, int, str, str], set[str]] = defaultdict(set)
    for name, model in built["models"].items():
        for number, count in model.get("left", {}).items():
            outside, chain = built["chains"][int(number)] if int(number) >= 0 else ("", [])
            path, line, _ = chain[0] if chain else ("?", 0, 0)
            covered, codes = judge(chain, findings)
            key = (path, line, covered, outside)
            source = source_line(root / path, line)
            row = table.setdefault(key, Leftover(path, line, source, outside, covered=covered))
            row.norms += count
            row.findings = sorted({*row.findings, *codes})
            callers = {f"{frame[0]}:{frame[1]}" for frame in chain[1:2]}
            row.callers = sorted({*row.callers, *callers})[:5]
            models[key].add(name)
            row.models = len(models[key])
            row.examples = sorted(models[key])[:3]
    return sorted(table.values(), key=lambda row: (-COVERED.index(row.covered), -row.norms))


def source_line(path: pathlib.Path, line: int) -> str:
    if not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[line - 1].strip() if line <= len(lines) else ""


def count_left(built: dict[str, Any], outside: bool) -> int:
    """Norms with running stats that the copies constructed, or other packages."""
    return sum(
        count
        for model in built["models"].values()
        for number, count in model.get("left", {}).items()
        if bool(int(number) >= 0 and built["chains"][int(number)][0]) == outside
    )


def by_cover(rows: Sequence[Leftover]) -> dict[str, int]:
    left = Counter(dict.fromkeys(COVERED, 0))
    for row in rows:
        left[row.covered] += row.norms
    return dict(left)
