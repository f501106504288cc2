"""Reads what one file has to say to the others of its project: pass one of a sweep."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator

from bncodemod.scan.answers import Answers
from bncodemod.scan.flag import exits_of_flag
from bncodemod.scan.flow import trace
from bncodemod.scan.index import EMPTY_INDEX, ProjectIndex
from bncodemod.scan.mentions import Mention, Role, mentions
from bncodemod.scan.module_table import ModuleTable
from bncodemod.scan.modules import INSTALLED
from bncodemod.scan.names import Names
from bncodemod.scan.summary import FlowFacts, Import, Request, Summary
from bncodemod.source.errors import SourceError
from bncodemod.source.parse import parse
from bncodemod.source.text import SourceText
from bncodemod.source.tree import LazyTree

# What stands in the names of torch's norms, classes and functions.
_NORM_PARTS = ("BatchNorm", "InstanceNorm", "_NormBase", "batch_norm", "instance_norm")


def summarise(
    data: bytes,
    path: str,
    requests: Iterable[Request] = (),
    index: ProjectIndex = EMPTY_INDEX,
) -> Summary | None:
    """The summary of a file, with answers to ``requests``; None where the file cannot be parsed.

    ``path`` only names the file in what is said about it.
    """
    try:
        source = SourceText.decode(data)
        names = Names(LazyTree(source, parse(source)), index)
        reader = _Reader(names, path)
        return reader.summary(tuple(requests))
    except (SourceError, RecursionError, MemoryError):
        return None


class _Reader:
    def __init__(self, names: Names, path: str) -> None:
        self.names = names
        self.tree = names.tree
        self._answers = Answers(names, path)

    def summary(self, requests: tuple[Request, ...]) -> Summary:
        table = ModuleTable(self.tree)
        table.read(self.tree.module.body)
        self.tree.expand_imports()
        found = mentions(self.names)
        imports = tuple(self._imports())
        return Summary(
            imports=imports,
            exported=table.exported,
            assigned={name: tuple(dotted) for name, dotted in table.assigned.items()},
            classes=table.classes,
            # ``nn = None`` stands in for an import that failed: no use of it can succeed.
            others=frozenset(table.others | (table.blank - {item.local for item in imports})),
            roots=frozenset(self._roots()),
            words=frozenset(table.words if any(map(_needs_words, imports)) else ()),
            flows=tuple(self._flows(found)),
            flag_exits=exits_of_flag(self.names),
            answers={request: self._answers.answer(request) for request in requests},
        )

    def _imports(self) -> Iterator[Import]:
        for alias in self.tree.of_type(ast.alias):
            statement = self.tree.parent(alias)
            exported = isinstance(self.names.scopes.scope_of(statement), ast.Module)
            if isinstance(statement, ast.ImportFrom):
                local = alias.asname or alias.name
                module = statement.module or ""
                yield Import(local, module, statement.level, alias.name, exported)
            else:
                yield Import(alias.asname or "", alias.name, 0, "", exported)
        for function in ("import_module", "__import__"):
            for node in self.tree.occurrences(function):
                call = self.tree.parents.get(node)
                if isinstance(call, ast.Call) and node is call.func and len(call.args) == 1:
                    name = call.args[0].value if isinstance(call.args[0], ast.Constant) else None
                    if isinstance(name, str):
                        # ``__import__("a.b")`` gives a, and so does ``import a.b``.
                        local = name if function == "import_module" else ""
                        yield Import(local, name, 0, "", exported=False)

    def _roots(self) -> Iterator[str]:
        """The names from which something spelled like a norm is read: ``layers.BatchNorm2d``."""
        for part in _NORM_PARTS:
            for word in self.tree.words_with(part):
                for node in self.tree.occurrences(word):
                    if isinstance(node, (ast.Name, ast.Attribute)):
                        yield from _root(node)
        for function in ("getattr", "vars"):
            for node in self.tree.occurrences(function):
                call = self.tree.parents.get(node)
                if isinstance(call, ast.Call) and node is call.func and call.args:
                    yield from _root(call.args[0])
        for node in self.tree.occurrences("__dict__"):
            yield from _root(node)

    def _flows(self, found: list[Mention]) -> Iterator[tuple[str, FlowFacts]]:
        for mention in found:
            node: ast.expr = mention.node
            if mention.role is Role.PARTIAL:
                node = self.tree.parent(node)  # type: ignore[assignment]
            elif mention.role is not Role.VALUE:
                continue
            if not mention.norm.abstract:
                facts = self._answers.facts(trace(self.names, node))
                if facts.exits:
                    yield mention.norm.name, facts


def _root(node: ast.AST) -> Iterator[str]:
    """The name that a chain of attributes begins with."""
    while isinstance(node, ast.Attribute):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def _needs_words(item: Import) -> bool:
    """Whether an import may bring in a module or more: the file's words say what counts of it."""
    if item.name:
        return item.name == "*" or (item.level > 0 and not item.module)
    top = item.module.partition(".")[0]
    return top not in INSTALLED and top not in sys.stdlib_module_names
