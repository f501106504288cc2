"""Whether two versions of a file are the same outside the sites that were rewritten."""

from __future__ import annotations

import ast
import io
import itertools
import re
import tokenize
from collections import Counter
from collections.abc import Iterator

from bncodemod.model import Finding
from fixture_cases import decode, lines_of

# A rewrite may bring such functions, classes (with a line that names them), patches and imports
# into a file, and no other line outside its sites.
PATCHES = "replace_all_batch_norm_modules_|freeze_batch_norm_statistics|batch_norms_to_group_norms"
HELPERS = re.compile(rf"_*(?:make_group_norm|GroupNormAs\w+|\w+WithoutStats|evaluating|{PATCHES})")


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
