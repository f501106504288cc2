"""Which expressions of a file make norms: the sites that are to be shown to run.

Two sources: what the rules find in the file as it stands (a norm without running statistics is
*safe* to them, one with them is *rewritten* or *open*), and the GroupNorms in it, among them those
that a rewrite wrote by way of its helpers.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from bncodemod.catalog.torch import NORM_CLASSES
from bncodemod.model import Finding, Status
from bncodemod.scan.index import EMPTY_INDEX
from bncodemod.scan.libraries import uses_of
from bncodemod.scan.mentions import Role, role
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import Function
from bncodemod.source.parse import parse
from bncodemod.source.text import SourceText
from bncodemod.source.tree import LazyTree
from bncodemod.strategies import eval_mode, patch_code
from bncodemod.strategies.groups import HELPER, is_class_helper, is_helper
from bncodemod.strategies.patches import PATCHERS, Patches
from bncodemod.strategies.stand_in import is_without_stats
from bncodemod.verify import named_norms
from bncodemod.verify.model import Site, SiteKind
from bncodemod.verify.named_norms import CONFIGURATIONS, named_group_norms, user_of

# What a file holds in which there may be a site that no rule speaks of.
WORDS = (
    b"GroupNorm",
    b"WithoutStats",
    HELPER.encode(),
    eval_mode.HELPER.encode(),
    *named_norms.WORDS,
    *(name.encode() for name in PATCHERS),
)

# Rules whose findings are no expressions that make norms: hazards (BN3xx), imports, the page's
# mistakes that are found by another rule as well, and F.batch_norm where it is harmless.
_MAKES = ("BN1", "BN201", "BN203", "BN204", "BN205", "BN402", "BN403")
_FUNCTIONAL = "BN104"
_GROUP_NORM = tuple(
    f"torch.nn.{module}GroupNorm" for module in ("", "modules.", "modules.normalization.")
)
_GIVE_A_VALUE = frozenset({"partial", "getattr", "dict", "partialmethod"})

_Span = tuple[int, int]
_Made = tuple[ast.expr, str]  # what makes norms, and the code of the rule that speaks of it


def find_sites(
    data: bytes,
    path: str,
    findings: Iterable[Finding] = (),
    *,
    before: bytes | None = None,
    written: Iterable[Finding] = (),
) -> tuple[Site, ...]:
    """The sites of one file, in the order of the source.

    ``findings`` are those of the rules for just these bytes, under no-running-stats. With
    ``before``, the bytes that stood there once, what is new is ``rewritten``. ``written`` are the
    findings of the rewrite that led from there to here, if there was one: strings and
    configurations do not show any more that they were batch norms. Raises SourceError where the
    file cannot be handled.
    """
    source = SourceText.decode(data)
    old = None if before is None else SourceText.decode(before).text
    change = _Change(old, source.text)
    names = Names(LazyTree(source, parse(source)), EMPTY_INDEX)
    return _File(source, path, names, change).sites(findings, written)


class _Change:
    """What is new in a file; nothing is where the old text is not known."""

    def __init__(self, before: str | None, after: str) -> None:
        new = _lines(after)
        self._old = new if before is None else _lines(before)
        matcher = SequenceMatcher(None, self._old, new, autojunk=False)
        self._blocks = [block for block in matcher.get_opcodes() if block[0] != "equal"]

    def touches(self, first: int, last: int, text: str) -> bool:
        """Whether one of the lines from ``first`` to ``last`` is new, and ``text`` with it."""
        wanted = "\n".join(_lines(text))
        for _, start, end, new_start, new_end in self._blocks:
            if new_start < last and first <= new_end:
                if end - start == new_end - new_start:  # line for line
                    start, end = start + first - 1 - new_start, start + last - new_start
                else:
                    start, end = start - (last - first), end + last - first
                replaced = self._old[max(start, 0) : end]
                if wanted not in "\n".join(replaced):
                    return True
        return False


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


class _File:
    def __init__(self, source: SourceText, path: str, names: Names, change: _Change) -> None:
        self._source = source
        self._path = path
        self._change = change
        self._names = names
        self._tree = names.tree
        self._helpers = list(_helpers(self._tree.module))

    def sites(self, findings: Iterable[Finding], written: Iterable[Finding]) -> tuple[Site, ...]:
        found: dict[_Span, Site] = {}
        named = named_group_norms(self._names)
        for node, code in [*self._of_findings(findings), *self._of_group_norms(), *named]:
            if not self._in_helper(node):
                if code in CONFIGURATIONS:
                    node = user_of(self._tree, node)
                found.setdefault(self._tree.span(node), self._site(node, code, _kind(node)))
        for above, kind in [*self._patches(), *self._blocks()]:
            if not self._in_helper(above):
                found[self._tree.span(above)] = self._site(above, "", kind)
        for node, code in self._of_rewrite(written):
            start, end = self._tree.span(node)
            overlapping = [span for span in found if start < span[1] and span[0] < end]
            if (start, end) in found:  # what is within it is as it was, or new itself
                overlapping = [(start, end)]
            for span in overlapping or [(start, end)]:
                site = found.get(span) or self._site(node, code, _kind(node))
                found[span] = replace(site, rewritten=True)
        return tuple(found[span] for span in sorted(found))

    def _of_findings(self, findings: Iterable[Finding]) -> Iterator[_Made]:
        making = [finding for finding in findings if _makes_norms(finding)]
        spans = dict(self._expressions({finding.line for finding in making}))
        for finding in making:
            first = self._source.line_start(finding.line) + finding.column - 1
            last = self._source.line_start(finding.end_line) + finding.end_column - 1
            node = self._maker(spans.get((first, last)))
            if node is not None:
                yield node, finding.code

    def _of_rewrite(self, written: Iterable[Finding]) -> Iterator[_Made]:
        making = [f for f in written if f.status is Status.REWRITTEN and _makes_norms(f)]
        expressions = list(self._expressions({finding.line_after for finding in making}))
        for finding in making:
            for _, expression in expressions:
                if expression.lineno == finding.line_after:
                    if self._tree.text(expression) == finding.after:
                        node = self._maker(expression)
                        if node is not None:
                            yield node, finding.code
                        break

    def _maker(self, node: ast.expr | None) -> ast.expr | None:
        """The expression that makes norms where a finding stands at ``node``."""
        if node is None or _callee(node) == "group_norm":
            return None
        if isinstance(node, ast.Constant) and not isinstance(node.value, str):
            return self._fed_by(node)  # a default is rewritten, in the place of a call
        self._tree.expand(self._tree.module)
        above = self._tree.parent(node)
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(above, ast.Attribute):
            # The base's own method is called by the name of its class.
            call = self._tree.parent(above)
            return call if isinstance(call, ast.Call) and _is_init(call) else None
        return node

    def _expressions(self, lines: set[int]) -> Iterator[tuple[_Span, ast.expr]]:
        for node in ast.walk(self._tree.module):
            if isinstance(node, ast.expr) and node.lineno in lines:
                yield self._tree.span(node), node

    def _fed_by(self, default: ast.expr) -> ast.expr | None:
        """The call of the base's ``__init__`` in the function that has this default."""
        for function in ast.walk(self._tree.module):
            if isinstance(function, ast.FunctionDef):
                if any(default is value for _, value in _defaults(function)):
                    calls = (n for n in ast.walk(function) if isinstance(n, ast.Call))
                    return next(filter(_is_init, calls), None)
        return None

    def _of_group_norms(self) -> Iterator[_Made]:
        uses = [node for node, _ in uses_of(self._names, _GROUP_NORM)]
        for node in [*uses, *self._helper_uses()]:
            if self._is_annotation(node):
                continue
            use = role(self._names, node)
            if use in (Role.CALL, Role.PARTIAL):
                call = self._tree.parent(node)
                assert isinstance(call, ast.Call)
                yield call, ""
            elif use in (Role.VALUE, Role.BASE):
                yield node, ""
            elif isinstance(self._tree.parent(node), ast.Attribute):
                if (own := self._maker(node)) is not None:
                    yield own, ""

    def _helper_uses(self) -> Iterator[ast.expr]:
        for helper in self._helpers:
            for node in self._tree.occurrences(helper.name):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                    if any(m.definition is helper for m in self._names.meanings(node)):
                        yield node

    def _patches(self) -> Iterator[tuple[ast.AST, SiteKind]]:
        """The calls that patch a model which is built."""
        for patch in Patches(self._names).standing.values():
            if isinstance(patch.node, ast.Call):
                yield patch.node, SiteKind.PATCH

    def _blocks(self) -> Iterator[tuple[ast.AST, SiteKind]]:
        """The ``with`` blocks in which models are in eval mode."""
        for word in self._tree.words_with(eval_mode.HELPER):
            if word.lstrip("_") == eval_mode.HELPER:
                for node in self._tree.occurrences(word):
                    call = self._tree.parents.get(node)
                    item = self._tree.parents.get(call) if call is not None else None
                    if isinstance(call, ast.Call) and isinstance(item, ast.withitem):
                        yield self._tree.statement(call), SiteKind.BLOCK

    def _is_annotation(self, node: ast.expr) -> bool:
        child: ast.AST = node
        for above in self._tree.ancestors(node):
            if isinstance(above, (ast.AnnAssign, ast.arg)) and child is above.annotation:
                return True
            if isinstance(above, Function) and child is above.returns:
                return True
            if isinstance(above, ast.stmt):
                return False
            child = above
        return False

    def _in_helper(self, node: ast.AST) -> bool:
        line: int = node.lineno  # type: ignore[attr-defined]
        return any(helper.lineno <= line <= (helper.end_lineno or 0) for helper in self._helpers)

    def _site(self, node: ast.AST, code: str, kind: SiteKind) -> Site:
        start, end = self._tree.span(node)
        line, column = self._source.position(start)
        end_line, end_column = self._source.position(end)
        text = self._source.text[start:end]
        return Site(
            path=self._path,
            line=line,
            column=column,
            end_line=end_line,
            end_column=end_column,
            kind=kind,
            text=text,
            code=code,
            rewritten=self._change.touches(line, end_line, text) or self._is_fed_anew(node),
            owner=owner_of(self._tree.module.body, line),
        )

    def _is_fed_anew(self, call: ast.AST) -> bool:
        """Whether a call of the base's ``__init__`` stands below a parameter with a new default."""
        if not _is_init(call):
            return False
        return any(
            self._change.touches(argument.lineno, default.end_lineno or 0, text)
            for function in self._tree.ancestors(call)
            if isinstance(function, ast.FunctionDef)
            for argument, default in _defaults(function)
            for text in [self._source.text[self._start(argument) : self._tree.span(default)[1]]]
        )

    def _start(self, node: ast.arg) -> int:
        return self._tree.span(node)[0]


def _makes_norms(finding: Finding) -> bool:
    if finding.status is Status.IGNORED or not finding.code.startswith(_MAKES):
        return False
    return finding.code != _FUNCTIONAL or finding.status is Status.OPEN


def _kind(node: ast.expr) -> SiteKind:
    """A call builds where it stands, unless what it gives is itself to be called."""
    if not isinstance(node, ast.Call) or _callee(node) in _GIVE_A_VALUE:
        return SiteKind.VALUE
    return SiteKind.CALL


def _callee(node: ast.AST) -> str:
    """The last name of what is called."""
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _is_init(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _callee(node) == "__init__"


def _helpers(module: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """The factories and classes that a rewrite brought into a file."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            if (HELPER in node.name and is_helper(node)) or patch_code.is_helper(node):
                yield node
        elif isinstance(node, ast.ClassDef):
            derived = node.name.lstrip("_").startswith("GroupNormAs") and is_class_helper(node)
            if derived or _is_without_stats(node):
                yield node


def _is_without_stats(node: ast.ClassDef) -> bool:
    norm = NORM_CLASSES.get(node.name.lstrip("_").removesuffix("WithoutStats"))
    return norm is not None and node.name.endswith("WithoutStats") and is_without_stats(node, norm)


def _defaults(function: ast.FunctionDef) -> list[tuple[ast.arg, ast.expr]]:
    """The parameters that have a default, each with it."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    pairs = [*zip(reversed(positional), reversed(given.defaults), strict=False)]
    return [
        *pairs,
        *((a, d) for a, d in zip(given.kwonlyargs, given.kw_defaults, strict=True) if d),
    ]


def owner_of(body: Sequence[ast.stmt], line: int) -> str:
    """The dotted name of the innermost class or function around a place."""
    for statement in body:
        if not statement.lineno <= line <= (statement.end_lineno or 0):
            continue
        inner = [
            child
            for name in ("body", "orelse", "finalbody", "handlers")
            for child in getattr(statement, name, [])
        ]
        below = owner_of(inner, line)
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            return f"{statement.name}.{below}" if below else statement.name
        return below
    return ""
