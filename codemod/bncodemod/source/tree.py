"""A parsed file that is walked only where something is looked for.

Walking every node of a file costs a third of parsing it, and a file that mentions batch norm does
so in a few of its lines. So the statements are indexed once, and the expressions of a statement
only when a name that is looked for stands in its lines.
"""

from __future__ import annotations

import ast
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

from bncodemod.source.text import SourceText

Node = TypeVar("Node", bound=ast.AST)

_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
_BlockItem = (ast.stmt, ast.ExceptHandler, ast.match_case)


class LazyTree:
    """Parents, identifiers and statements of a module, filled in on demand."""

    def __init__(self, source: SourceText, module: ast.Module) -> None:
        self.source = source
        self.module = module
        self.parents: dict[ast.AST, ast.AST] = {}
        self._identifiers: dict[str, list[ast.AST]] = defaultdict(list)
        self._occurrences: dict[tuple[str, ast.AST | None, bool], list[ast.AST]] = {}
        self._searched: set[str] = set()
        self._walked_lines: set[int] = set()
        self._whole: set[ast.AST] = set()
        self._expanded: set[ast.AST] = set()
        self._by_type: dict[type[ast.AST], list[ast.AST]] = defaultdict(list)
        self._starts: dict[int, list[int]] = {}

    def search_text(self, part: str) -> None:
        """Walk the statements in whose lines ``part`` stands, as a word or within one."""
        if part not in self._searched:
            self._searched.add(part)
            self._walk_at(_places(self.source.text, part))

    def expand_imports(self) -> None:
        """Walk every import statement, wherever it stands."""
        self.search_text("import")

    def walk_block(self, branch: ast.If) -> Iterator[ast.AST]:
        """All nodes of the statements that a true test leads to."""
        for statement in branch.body:
            self.parents.setdefault(statement, branch)
            yield from self.walk_below(statement)

    def expand(self, node: ast.AST) -> None:
        """Walk everything below a node, once."""
        if node not in self._whole:
            self._whole.add(node)
            for _ in self.walk_below(node):
                pass

    def words_with(self, part: str) -> list[str]:
        """The distinct identifiers of the text that hold ``part``."""
        text = self.source.text
        found = set()
        for place in _places(text, part):
            start, end = place, place + len(part)
            while start and _is_word(text[start - 1]):
                start -= 1
            while end < len(text) and _is_word(text[end]):
                end += 1
            found.add(text[start:end])
        return sorted(found)

    def occurrences(self, name: str, within: ast.AST | None = None) -> list[ast.AST]:
        """Every node that names ``name``: names, attributes, parameters, imports, definitions.

        Only those in the lines of ``within`` if it is given.
        """
        return self._nodes_at(name, within, bindings=False)

    def bindings(self, name: str, within: ast.AST | None = None) -> list[ast.AST]:
        """Nodes that name ``name``, among them all that bind it or declare it global.

        What stands beside a dot binds nothing outside of an import: ``nn`` on every second line of
        a file does not have it walked.
        """
        return self._nodes_at(name, within, bindings=True)

    def _nodes_at(self, name: str, within: ast.AST | None, bindings: bool) -> list[ast.AST]:
        key = name, within, bindings
        if key not in self._occurrences:
            start, end = self.span(within) if within is not None else (0, len(self.source.text))
            places = self._words(name, start, end)
            if bindings:
                self.expand_imports()
                places = (p for p in places if self._may_bind(p, p + len(name)))
            self._walk_at(places)
            found = self._identifiers.get(name, [])
            if within is not None:
                first, last = self.source.position(start)[0], self.source.position(end)[0]
                found = [n for n in found if first <= n.lineno <= last]  # type: ignore[attr-defined]
            # No later walk can add to them: every line that counts has been walked.
            self._occurrences[key] = found
        return self._occurrences[key]

    def _may_bind(self, start: int, end: int) -> bool:
        text = self.source.text
        return text[start - 1 : start] != "." and text[end : end + 1] != "."

    def _words(self, name: str, start: int, end: int) -> Iterator[int]:
        text, size = self.source.text, len(name)
        for place in _places(text, name, start, end):
            before, behind = text[place - 1 : place], text[place + size : place + size + 1]
            if not _is_word(before) and not _is_word(behind):
                yield place

    def _walk_at(self, places: Iterable[int]) -> None:
        for place in places:
            line = self.source.position(place)[0]
            if line not in self._walked_lines:
                self._walked_lines.add(line)
                self._expand_line(self.module, line)

    def of_type(self, kind: type[Node]) -> list[Node]:
        """The walked nodes of one type, in the order of the source."""
        found: list[Node] = self._by_type.get(kind, [])  # type: ignore[assignment]
        return sorted(found, key=_place)

    def parent(self, node: ast.AST) -> ast.AST:
        """The node that holds ``node``; raises KeyError for the module."""
        return self.parents[node]

    def call_to(self, node: ast.AST) -> ast.Call | None:
        """The call that calls a node, as ``nn.Linear(3, 4)`` calls ``nn.Linear``; None if none."""
        above = self.parents.get(node)
        return above if isinstance(above, ast.Call) and above.func is node else None

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """The parents of a node, innermost first, the module last."""
        parents = self.parents
        while (above := parents.get(node)) is not None:
            yield above
            node = above

    def statement(self, node: ast.AST) -> ast.stmt:
        """The innermost statement that holds ``node``, or the node itself if it is one."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def span(self, node: ast.AST) -> tuple[int, int]:
        """First and last-plus-one character of a node."""
        offset = self.source.offset
        return (
            offset(node.lineno, node.col_offset),  # type: ignore[attr-defined]
            offset(node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def text(self, node: ast.AST) -> str:
        """The source text of a node."""
        start, end = self.span(node)
        return self.source.text[start:end]

    def walk_below(self, node: ast.AST) -> Iterator[ast.AST]:
        """``node`` and all nodes below it, with their parents known from here on."""
        self._expand(node)
        yield node
        for name in _BLOCKS:
            for item in _block(node, name):
                self.parents.setdefault(item, node)
                yield from self.walk_below(item)
        yield from self._inner(node)

    def _inner(self, node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, _BlockItem):
                yield child
                yield from self._inner(child)

    def _expand_line(self, holder: ast.AST, line: int) -> None:
        """Walk the statements of ``holder``'s blocks that cover a line, and those inside them."""
        for name in _BLOCKS:
            block = _block(holder, name)
            if not block:
                continue
            starts = self._starts.get(id(block))
            if starts is None:
                starts = self._starts[id(block)] = [_first_line(item) for item in block]
            index = bisect_right(starts, line) - 1
            while index >= 0:
                item = block[index]
                if _last_line(item) < line:
                    break
                self.parents[item] = holder
                self._expand(item)
                self._expand_line(item, line)
                index -= 1

    def _expand(self, top: ast.AST) -> None:
        """Record the expressions of one statement, without the statements inside it."""
        if top in self._expanded:
            return
        self._expanded.add(top)
        parents, by_type = self.parents, self._by_type
        stack: list[ast.AST] = [top]
        while stack:
            node = stack.pop()
            by_type[type(node)].append(node)
            self._note_identifiers(node)
            for child in ast.iter_child_nodes(node):
                if not isinstance(child, _BlockItem):
                    parents[child] = node
                    stack.append(child)

    def _note_identifiers(self, node: ast.AST) -> None:
        identifiers = self._identifiers
        if isinstance(node, ast.Name):
            identifiers[node.id].append(node)
        elif isinstance(node, ast.Attribute):
            identifiers[node.attr].append(node)
        elif isinstance(node, (ast.arg, ast.keyword)):
            if node.arg:
                identifiers[node.arg].append(node)
        elif isinstance(node, ast.alias):
            identifiers[node.asname or node.name.partition(".")[0]].append(node)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            identifiers[node.name].append(node)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            for name in node.names:
                identifiers[name].append(node)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
            if node.name:
                identifiers[node.name].append(node)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            identifiers[node.rest].append(node)


def _block(node: ast.AST, name: str) -> list[ast.AST]:
    block = getattr(node, name, None)
    # Lambda and IfExp have an expression where statements have a list.
    return block if isinstance(block, list) else []


def _first_line(item: ast.AST) -> int:
    if isinstance(item, ast.match_case):
        return item.pattern.lineno
    decorators = getattr(item, "decorator_list", None)
    line: int = item.lineno  # type: ignore[attr-defined]
    return min(line, decorators[0].lineno) if decorators else line


def _last_line(item: ast.AST) -> int:
    if isinstance(item, ast.match_case):
        return item.body[-1].end_lineno or 0
    end: int = item.end_lineno  # type: ignore[attr-defined]
    return end


def _place(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def _places(text: str, part: str, start: int = 0, end: int | None = None) -> Iterator[int]:
    place = text.find(part, start, end)
    while place >= 0:
        yield place
        place = text.find(part, place + 1, end)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
