"""Every fixture under every strategy: snapshots, and the laws that hold for all of them.

``fixtures/<rule>/<case>.in.py`` is rewritten; ``fixtures/<rule>/<case>/<mode>/`` holds the
snapshots: ``findings.txt``, and ``rewritten.txt`` where a byte changes. A mode is a strategy with
its options. The laws hold for every case in every mode; snapshots of what is patched at run time
are kept for the cases that are about it, those of ``fixtures/runtime_patch``. After a change that
is meant: ``pytest tests/test_fixtures.py --snapshot-update --allow-snapshot-deletion``, then read
the difference. Names that end in ``_py312`` hold syntax that Python 3.12 brought.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import itertools
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bncodemod.core import rewrite
from bncodemod.model import FileResult, Finding, Status
from bncodemod.settings import PATCHES as KINDS
from bncodemod.settings import STRATEGIES, Settings

FIXTURES = Path(__file__).parent / "fixtures"
CASES = sorted(
    path.relative_to(FIXTURES).as_posix().removesuffix(".in.py")
    for path in FIXTURES.rglob("*.in.py")
)
RUNNABLE = [case for case in CASES if sys.version_info >= (3, 12) or not case.endswith("_py312")]
LINE_ENDING = re.compile(r"\r\n|\n|\r")

# A rewrite may bring such functions, classes (with a line that names them), patches and imports
# into a file, and no other line outside its sites.
PATCHES = "replace_all_batch_norm_modules_|freeze_batch_norm_statistics|batch_norms_to_group_norms"
HELPERS = re.compile(rf"_*(?:make_group_norm|GroupNormAs\w+|\w+WithoutStats|evaluating|{PATCHES})")

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


def has_snapshot(case: str, mode: str) -> bool:
    if case.startswith("eval_call/"):
        return mode == "eval-mode"
    return mode in OF_SOURCE or (mode != "eval-mode" and case.startswith("runtime_patch/"))


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


def as_text(result: FileResult) -> bytes:
    """The findings as a person reads them; bytes, so that a bare CR in a site survives."""
    counts = Counter(finding.status.value for finding in result.findings)
    summary = ", ".join(f"{n} {status}" for status, n in counts.items()) or "no findings"
    out = [f"{'unchanged' if result.after is None else 'changed'}: {summary}"]
    for error in result.errors:
        out += ["", f"line {error.line} {error.code} error"]
        out += [f"    {error.message}", f"    > {error.remedy}"]
    for f in result.findings:
        moved = f" (then line {f.line_after})" if f.line_after != f.line else ""
        place = f"{f.line}:{f.column}-{f.end_line}:{f.end_column}{moved}"
        out += ["", f"{place} {f.code} {f.kind} {f.status.value}"]
        out += [f"    - {line.rstrip()}" for line in LINE_ENDING.split(f.before)]
        out += [f"    + {line.rstrip()}" for line in LINE_ENDING.split(f.after) if f.after]
        out += [f"    {line}" for line in f.message.splitlines()]
        out += [f"    > {line}" for line in f.remedy.splitlines()]
    return ("\n".join(out) + "\n").encode()


@pytest.mark.parametrize(
    ("case", "mode"), [(c, m) for c in RUNNABLE for m in MODES if has_snapshot(c, m)]
)
def test_snapshot(case: str, mode: str, snapshot: Any) -> None:
    result = rewritten(case, mode)
    files = {"findings.txt": as_text(result)}
    if result.after is not None:
        files["rewritten.txt"] = result.after
    snapshot.snapshot_dir = FIXTURES / case
    snapshot.assert_match_dir(files, mode)


def test_no_stray_snapshot() -> None:
    kept = {FIXTURES / case / mode for case in CASES for mode in MODES if has_snapshot(case, mode)}
    stray = {path.parent for path in FIXTURES.rglob("findings.txt")} - kept
    assert not stray, "snapshots of no fixture"


@every_case_and_mode
def test_no_errors_and_still_python(case: str, mode: str) -> None:
    assert rewritten(case, mode).errors == ()
    ast.parse(output(case, mode))


@every_case_and_mode
def test_second_run_changes_nothing(case: str, mode: str) -> None:
    first, second = rewritten(case, mode), rewritten_twice(case, mode)
    assert second.after is None
    assert with_status(second, Status.REWRITTEN) == []
    for status in (Status.OPEN, Status.IGNORED):
        assert [(f.line, f.code, timeless(f.message)) for f in with_status(second, status)] == [
            (f.line_after, f.code, timeless(f.message))
            for f in sorted(with_status(first, status), key=lambda f: f.line_after)
        ]


@every_case_and_mode
def test_findings_are_sound(case: str, mode: str) -> None:
    """Positions, texts and statuses of the findings agree with the file and with each other."""
    result = rewritten(case, mode)
    text = decode(source(case))
    lines, lines_after = lines_of(text), lines_of(decode(output(case, mode)))
    starts = [0, *itertools.accumulate(map(len, lines))]

    assert result.before == source(case)
    assert result.after != result.before
    assert pickle.loads(pickle.dumps(result)) == result
    assert (result.after is not None) == bool(with_status(result, Status.REWRITTEN))
    assert sum(len(with_status(result, status)) for status in Status) == len(result.findings)
    assert list(result.findings) == sorted(result.findings, key=lambda f: (f.line, f.column))
    for f in result.findings:
        assert (f.path, f.strategy) == (result.path, MODES[mode].strategy)
        assert re.fullmatch(r"BN[0-4]\d\d", f.code)
        assert f.message
        assert (f.line, f.column) < (f.end_line, f.end_column)
        assert (
            f.before
            == text[starts[f.line - 1] + f.column - 1 : starts[f.end_line - 1] + f.end_column - 1]
        )
        if f.status is Status.REWRITTEN:
            assert f.after
            assert f.after != f.before
        else:
            assert f.after == ""
        if f.status is Status.OPEN:
            assert f.remedy
        assert 1 <= f.line_after <= len(lines_after)
        edited = {
            n for g in with_status(result, Status.REWRITTEN) for n in range(g.line, g.end_line + 1)
        }
        if f.line not in edited:
            assert lines_after[f.line_after - 1].rstrip() == lines[f.line - 1].rstrip()


def imports(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


def helpers(tree: ast.Module) -> list[ast.stmt]:
    return [node for node in tree.body if HELPERS.fullmatch(defined(node))]


def defined(node: ast.stmt) -> str:
    """The name of a function or class, also where ``__name__`` is set for it."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
        return ast.unparse(node.targets[0]).removesuffix(".__name__")
    return node.name if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else ""


def patches(tree: ast.Module) -> list[ast.stmt]:
    """The statements that patch a model and do nothing else."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and HELPERS.fullmatch(ast.unparse(node.value.func).rpartition(".")[2])
    ]


def names(node: ast.Import | ast.ImportFrom) -> set[tuple[str | None, str, str | None]]:
    module = node.module if isinstance(node, ast.ImportFrom) else None
    return {(module, alias.name, alias.asname) for alias in node.names}


def added_blocks(before: ast.Module, after: ast.Module) -> Iterator[tuple[int, int]]:
    """First and last line of each import, helper and patch that the rewrite brought in."""
    for kind in (imports, helpers, patches):
        had = Counter(ast.dump(node) for node in kind(before))
        for node in kind(after):
            if had[ast.dump(node)] > 0:
                had[ast.dump(node)] -= 1
            else:
                assert node.end_lineno is not None
                first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
                yield first, node.end_lineno


def grown_imports(before: ast.Module, after: ast.Module) -> Iterator[int]:
    """Lines of the input's imports that the rewrite gave one name more."""
    for old in imports(before):
        for new in imports(after):
            if type(old) is type(new) and names(old) < names(new):
                yield from range(old.lineno, (old.end_lineno or old.lineno) + 1)


def matches_in_order(segments: list[str], text: str) -> bool:
    """Whether ``text`` is the segments with anything between them, anchored at both ends."""
    if len(segments) == 1:
        return segments[0] == text
    first, *middle, last = segments
    if not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for segment in middle:
        found = text.find(segment, at, end)
        if found < 0:
            return False
        at = found + len(segment)
    return at <= end


def untouched(before: bytes, after: bytes, sites: list[Finding]) -> bool:
    """Whether ``after`` is ``before`` outside the lines of the sites, imports and helper.

    The lines of the input outside rewritten sites are fixed segments. The output without the
    imports and helpers that were added, each with some of the blank lines around it, must be
    these segments in order, with anything only where the sites were.
    """
    old, new = decode(before), decode(after)
    old_tree, new_tree = ast.parse(before), ast.parse(after)
    free = {n for site in sites for n in range(site.line, site.end_line + 1)}
    free.update(grown_imports(old_tree, new_tree))

    segments = [""]
    for number, line in enumerate(lines_of(old), 1):
        if number not in free:
            segments[-1] += line
        elif segments[-1] or len(segments) == 1:
            segments.append("")

    lines = lines_of(new)
    blocks = []
    for first, last in added_blocks(old_tree, new_tree):
        above, below = first - 1, last
        while above > 0 and not lines[above - 1].strip():
            above -= 1
        while below < len(lines) and not lines[below].strip():
            below += 1
        blanks = [*range(above, first - 1), *range(last, below)]
        blocks.append([{*range(first - 1, last), *blanks[:n]} for n in range(len(blanks) + 1)])
    for choice in itertools.product(*blocks):
        dropped = set().union(*choice)
        kept = "".join(line for number, line in enumerate(lines) if number not in dropped)
        if matches_in_order(segments, kept):
            return True
    return False


def unpatched(source: bytes) -> bytes:
    """The source without the patches around expressions, which may stand far from their sites."""
    text = decode(source)
    lines = lines_of(text)
    starts = [0, *itertools.accumulate(len(line.encode()) for line in lines)]
    cuts = []
    nodes = list(ast.walk(ast.parse(source)))
    alone = {node.value for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if not isinstance(node, ast.Call) or node in alone:
            continue
        if re.fullmatch(PATCHES, getattr(node.func, "id", "")):
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            cuts += [(start, start + len(node.func.id) + 1), (end - 1, end)]
    data = text.encode()
    for start, end in sorted(cuts, reverse=True):
        data = data[:start] + data[end:]
    return data.decode().encode(tokenize.detect_encoding(io.BytesIO(source).readline)[0])


@every_case_and_mode
def test_untouched_outside_the_edits(case: str, mode: str) -> None:
    before, after = source(case), output(case, mode)
    old, new = decode(before), decode(after)
    sites = with_status(rewritten(case, mode), Status.REWRITTEN)
    assert untouched(unpatched(before), unpatched(after), sites)
    assert set(LINE_ENDING.findall(new)) <= (set(LINE_ENDING.findall(old)) or {"\n"})
    assert bool(LINE_ENDING.search(new[-1:])) == bool(LINE_ENDING.search(old[-1:]))
    assert after.startswith(b"\xef\xbb\xbf") == before.startswith(b"\xef\xbb\xbf")


def test_the_check_of_untouched_bytes_sees_a_change() -> None:
    before = b"import a\n\nx = f(1)\ny = 2\n"
    site = Finding("p", "BN101", "", Status.REWRITTEN, 3, 5, 3, 9, 4, "", "", "", "f(1)", "g(1)")
    helper = b"\n\ndef make_group_norm(c):\n    return c\n\n\n"
    helper = b"import a\nimport b\n" + helper + b"x = g(\n    1)\ny = 2\n"
    assert untouched(before, before, [])
    assert untouched(before, before.replace(b"import a", b"import a\nimport b"), [])
    assert untouched(before, helper, [site])
    assert not untouched(before, helper, [])
    assert not untouched(before, helper.replace(b"y = 2", b"y  = 2"), [site])
    assert not untouched(before, before.replace(b"y = 2", b"y = 3"), [])
    assert not untouched(before, before.replace(b"\n", b"\r\n"), [])
    assert not untouched(before, before[:-1], [])
    assert not untouched(before, before.replace(b"x = f(1)\n", b""), [])


def probe(sources: dict[str, Path]) -> dict[str, Any]:
    """What ``fixtures/probe.py`` says of the files, from a process of its own."""
    with tempfile.TemporaryDirectory() as folder:  # some of them save checkpoints
        process = subprocess.run(
            [sys.executable, str(FIXTURES / "probe.py")],
            input=json.dumps({name: str(path) for name, path in sources.items()}),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(FIXTURES.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)  # type: ignore[no-any-return]


def groups_by_the_rule(channels: int) -> int:
    """The largest divisor that is at most 32 and leaves 4 channels a group, else 1."""
    return max(g for g in range(1, 33) if channels % g == 0 and (g == 1 or channels // g >= 4))


def norm_complaints(before: list[Any], after: list[Any], mode: str) -> Iterator[str]:
    """What is wrong with a norm of the rewritten program, beside the one it was."""
    kind, channels, eps, affine, momentum, _, tracked = before
    kind_after, channels_after, eps_after, affine_after, momentum_after, groups, tracks = after
    if tracks and not tracked:
        yield f"{kind} did not keep running stats and now does"
    if (channels, affine) != (channels_after, affine_after):
        yield f"{before} became {after}"
    if kind == kind_after:
        if (eps, momentum) != (eps_after, momentum_after) and kind != "GroupNorm":
            yield f"{before} became {after}"
    elif kind_after != "GroupNorm" or "group-norm" not in mode:
        yield f"{kind} became {kind_after}"
    elif eps != eps_after and eps < 1:  # eps ≥ 1 is the page's mistake: groups in eps' place
        yield f"{kind} had eps {eps}, GroupNorm has {eps_after}"
    elif eps < 1 and groups != groups_by_the_rule(channels):
        yield f"{channels} channels in {groups} groups"


def complaints(case: str, mode: str, old: Any, new: Any) -> Iterator[str]:
    """What the rewrite of a case broke or missed, by the probe's reports before and after."""
    unhandled = {
        finding.code
        for finding in rewritten(case, mode).findings
        if finding.status in (Status.OPEN, Status.IGNORED)
        or finding.message.startswith(("auto: ", "left: "))
    }
    warned = any(code.startswith("BN3") for code in unhandled)  # that it does not run as before
    if new["error"] and not warned:
        yield f"import: {new['error']}"
    for key, built in old["built"].items():
        found = new["built"].get(key, {"error": "it is gone", "norms": []})
        left = any(tracks for *_, tracks in found["norms"])
        if left and not unhandled - {"BN001"} and "skip-file" not in decode(source(case)):
            yield f"{key}: running stats are left and nothing says so"
        if built["error"] or new["error"] or warned:
            continue
        if found["error"]:
            yield f"{key}: {found['error']}"
        elif len(found["norms"]) != len(built["norms"]):
            yield f"{key}: another number of norms"
        else:
            for pair in zip(built["norms"], found["norms"], strict=True):
                yield from (f"{key}: {text}" for text in norm_complaints(*pair, mode))


@pytest.mark.parametrize("mode", [*OF_SOURCE, "keep-statistics", "eval-mode"])
def test_what_ran_before_runs_after(mode: str, tmp_path: Path) -> None:
    """Imports still import, what built still builds, with the same norms in the same order.

    And no silent miss: where a norm still keeps running stats, the file has an open finding.
    """
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: the fixtures cannot run")
    name_of = {case: re.sub(r"\W", "_", case) for case in RUNNABLE}
    reports = []
    for folder, text_of in (("before", source), ("after", lambda case: output(case, mode))):
        (tmp_path / folder).mkdir()
        paths = {name: tmp_path / folder / f"{name}.py" for name in name_of.values()}
        for case, name in name_of.items():
            paths[name].write_bytes(text_of(case))
        reports.append(probe(paths))
    before, after = reports

    imported = {case: name for case, name in name_of.items() if before[name]["error"] is None}
    assert len(imported) > 0.8 * len(name_of)
    wrong = [
        f"{case}: {text}"
        for case, name in imported.items()
        for text in complaints(case, mode, before[name], after[name])
    ]
    assert not wrong, "\n".join(wrong)


def test_every_strategy_and_patch_is_a_mode() -> None:
    assert {settings.strategy for settings in MODES.values()} == set(STRATEGIES)
    assert {settings.patch for settings in MODES.values()} == set(KINDS)
