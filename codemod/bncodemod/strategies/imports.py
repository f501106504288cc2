"""Names for what the emitted code needs: an import that is there, else one to add.

An import is added where a person would put it: among the imports that the file begins with, before
the first statement that needs it, in its isort section.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bncodemod.scan.names import Names
from bncodemod.scan.scopes import BindingKind, Comprehension


@dataclass(slots=True)
class _Addition:
    """Code to add at module level and the top-level statements that need it."""

    code: str
    users: list[ast.stmt] = field(default_factory=list)


State = tuple[dict[str, list[ast.stmt]], dict[str, list[ast.stmt]]]


class Imports:
    """The imports of one file and those that its edits add."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.tree = names.tree
        self._written: dict[str, str] = {}
        self._imports: dict[str, _Addition] = {}
        self._helpers: dict[str, _Addition] = {}

    def state(self) -> State:
        """What is to be added so far, for ``restore``."""
        return (
            {name: list(addition.users) for name, addition in self._imports.items()},
            {name: list(addition.users) for name, addition in self._helpers.items()},
        )

    def restore(self, state: State) -> None:
        """Forget what was asked for since ``state`` was taken: nothing came of the decision."""
        for additions, users in zip((self._imports, self._helpers), state, strict=True):
            for name in list(additions):
                if name in users:
                    additions[name].users = users[name]
                else:
                    del additions[name]

    def name_for(self, qualified: str, at: ast.AST) -> str:
        """An expression for ``qualified`` that holds at a node; adds an import if none serves."""
        return self.existing(qualified, at) or self.add(qualified, at)

    def name_above_helpers(self, qualified: str, at: ast.AST) -> str:
        """Like ``name_for``, but it holds already where a helper for the node is put.

        What the body of a class or a base needs is looked up there, what a function needs is not.
        """
        existing = self.existing(qualified, at)
        root = existing.partition(".")[0]
        bound = {
            (alias.asname or alias.name).partition(".")[0]
            for statement in self._leading([self.top_level(at)])
            for alias in ast.walk(statement)
            if isinstance(alias, ast.alias)
        }
        return existing if root in bound else self.add(qualified, at)

    def helper(self, wanted: str, at: ast.AST, code: Callable[[str], str]) -> str:
        """The name of a function or class of module level, defined before a node's statement.

        ``code`` gives its source once for the name that is free.
        """
        if wanted not in self._helpers:
            name = self.free_name(wanted)
            self._helpers[wanted] = _Addition(code(name))
            self._written[wanted] = name
        self._helpers[wanted].users.append(self.top_level(at))
        return self._written[wanted]

    def insertions(self) -> list[tuple[int, str]]:
        """What is to be inserted: pairs of a character and whole lines, in ``\\n`` form."""
        found = [
            self._place_import(addition)
            for _, addition in sorted(self._imports.items(), key=lambda item: item[1].code)
        ]
        return found + self._placed_helpers()

    def free_name(self, wanted: str) -> str:
        """``wanted``, with underscores before it until the file does not use it."""
        while self.tree.occurrences(wanted):
            wanted = f"_{wanted}"
        return wanted

    def existing(self, qualified: str, at: ast.AST) -> str:
        """How ``qualified`` is written at a node by an import that is there; empty without one."""
        self.tree.expand_imports()
        written = (self._through(alias, qualified, at) for alias in self.tree.of_type(ast.alias))
        return min((w for w in written if w), key=lambda w: w.count("."), default="")

    def _through(self, alias: ast.alias, qualified: str, at: ast.AST) -> str:
        """How ``qualified`` is written by way of one import, if that holds at the node."""
        statement = self.tree.parent(alias)
        local = alias.asname or alias.name
        if isinstance(statement, ast.ImportFrom):
            if statement.level or alias.name == "*":
                return ""
            bound = f"{statement.module}.{alias.name}"
        else:
            bound = alias.name
        if bound != qualified and not qualified.startswith(f"{bound}."):
            return ""
        if not self._visible(alias, local.partition(".")[0], statement, at):
            return ""
        return local + qualified[len(bound) :]

    def _visible(self, alias: ast.alias, name: str, statement: ast.AST, at: ast.AST) -> bool:
        scopes = self.names.scopes
        here = scopes.scope_of(at)
        scope = scopes.binding_scope(name, here)
        if scope is None or scopes.scope_of(alias) is not scope:
            return False
        bindings = scopes.bindings(scope, name)
        if any(b.kind is not BindingKind.IMPORT for b in bindings) or self._is_deleted(name):
            return False
        if len({b.qualified for b in bindings}) != 1 or self.tree.parent(statement) is not scope:
            return False
        in_order = scope is here or self._runs_at_import(at)
        return not in_order or _end(statement) <= _start(self._statement_in(scope, at))

    def _is_deleted(self, name: str) -> bool:
        if "del " not in self.tree.source.text:
            return False
        return any(
            isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del)
            for node in self.tree.occurrences(name)
        )

    def _runs_at_import(self, at: ast.AST) -> bool:
        """Whether a node is evaluated while the module is imported."""
        scope = self.names.scopes.scope_of(at)
        while isinstance(scope, (ast.ClassDef, *Comprehension)):
            scope = self.names.scopes.scope_of(scope)
        return isinstance(scope, ast.Module)

    def _statement_in(self, scope: ast.AST, at: ast.AST) -> ast.AST:
        """The statement of a scope's own body that holds a node."""
        child = at
        for above in self.tree.ancestors(at):
            if above is scope:
                return child
            child = above
        return child

    def top_level(self, at: ast.AST) -> ast.stmt:
        """The statement of the module's body that holds a node."""
        top = self._statement_in(self.tree.module, at)
        assert isinstance(top, ast.stmt)
        return top

    def add(self, qualified: str, at: ast.AST) -> str:
        """Add an import of ``qualified`` for a node, whatever other ways there are to write it."""
        if qualified not in self._imports:
            module, _, name = qualified.rpartition(".")
            if not self._is_bare(name):
                code, written = f"from {module} import {name}", name
            elif "." not in module and not self.tree.occurrences(module):
                code, written = f"import {module}", qualified
            else:
                written = self.free_name(f"_{name}")
                code = f"from {module} import {name} as {written}"
            self._imports[qualified] = _Addition(code)
            self._written[qualified] = written
        self._imports[qualified].users.append(self.top_level(at))
        return self._written[qualified]

    def _is_bare(self, name: str) -> bool:
        """Whether the file uses a name by itself, not only behind a dot or as a keyword."""
        beside = (ast.Attribute, ast.keyword)
        return any(not isinstance(node, beside) for node in self.tree.occurrences(name))

    def _leading(self, users: list[ast.stmt]) -> list[ast.stmt]:
        """The import-like statements of the module before the first one that needs the addition.

        Only those before the first class or function: later ones are no place to look for imports.
        One that shares its last line with that statement is no place to insert behind.
        """
        first = min(users, key=_line)
        found = []
        for statement in self.tree.module.body:
            if statement is first or isinstance(
                statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            ):
                break
            if _only_imports(statement) and _last_line(statement) < _line(first):
                found.append(statement)
        return found

    def _place_import(self, addition: _Addition) -> tuple[int, str]:
        code = addition.code
        plain = [
            s
            for s in self._leading(addition.users)
            if isinstance(s, (ast.Import, ast.ImportFrom)) and _section(s) > 0
        ]
        section = 1 if code.split()[1].partition(".")[0] in sys.stdlib_module_names else 2
        own = [s for s in plain if _section(s) == section]
        later = [s for s in plain if _section(s) > section]
        if own:
            return self._among(own, code)
        if later:
            return self._before(later[0], f"{code}\n\n")
        if plain:
            return self._after(plain[-1], f"\n{code}\n")
        return self._at_top(f"{code}\n\n")

    def _among(self, own: Sequence[ast.stmt], code: str) -> tuple[int, str]:
        """Place a line in its section: plain imports first, then from-imports by module."""
        key = _sort_key(code)
        before = [s for s in own if _sort_key(_head(s)) < key]
        if before:
            return self._after(before[-1], f"{code}\n")
        return self._before(own[0], f"{code}\n")

    def _placed_helpers(self) -> list[tuple[int, str]]:
        """The helpers behind the imports, those that share a place with two lines between them."""
        behind: dict[ast.stmt | None, list[str]] = {}
        for addition in self._helpers.values():
            leading = self._leading(addition.users)
            behind.setdefault(leading[-1] if leading else None, []).append(addition.code)
        return [self._place_helpers(last, "\n\n".join(code)) for last, code in behind.items()]

    def _place_helpers(self, last: ast.stmt | None, code: str) -> tuple[int, str]:
        if last is None:
            return self._at_top(f"{code}\n\n")
        at, text = self._after(last, f"\n\n{code}")
        rest = self.tree.source.text[at:]
        ends = rest[: len(rest) - len(rest.lstrip("\r\n"))]
        blank = ends.count("\n") or ends.count("\r")
        return at, text + ("" if blank >= 2 or not rest else "\n\n"[: 2 - blank])

    def _before(self, statement: ast.stmt, lines: str) -> tuple[int, str]:
        return self.tree.source.line_start(_line(statement)), lines

    def _after(self, statement: ast.stmt, lines: str) -> tuple[int, str]:
        source = self.tree.source
        at = source.line_start(_last_line(statement) + 1)
        if at == len(source.text) and not source.text.endswith(("\n", "\r")):
            lines = "\n" + lines
        return at, lines

    def _at_top(self, lines: str) -> tuple[int, str]:
        """Before the first statement, but after the docstring and ``__future__`` imports."""
        body = self.tree.module.body
        index = 0
        while index < len(body) and (_is_docstring(body, index) or _section(body[index]) == 0):
            index += 1
        if not index:
            return self._before(body[0], lines)
        if index < len(body) and _line(body[index]) == _last_line(body[index - 1]):
            # They share a line, which is broken behind the semicolon.
            return self.tree.span(body[index])[0], f"\n{lines}"
        return self._after(body[index - 1], "\n" + lines.rstrip("\n") + "\n")


def _section(statement: ast.stmt) -> int:
    """isort's section of an import: 0 ``__future__``, 1 standard library, 2 others, 3 relative."""
    if isinstance(statement, ast.ImportFrom):
        if statement.level:
            return 3
        root = (statement.module or "").partition(".")[0]
    elif isinstance(statement, ast.Import):
        root = statement.names[0].name.partition(".")[0]
    else:
        return -1
    if root == "__future__":
        return 0
    return 1 if root in sys.stdlib_module_names else 2


def _only_imports(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return True
    if not isinstance(statement, (ast.If, ast.Try)):
        return False
    blocks = [statement.body, statement.orelse, getattr(statement, "finalbody", [])]
    blocks += [handler.body for handler in getattr(statement, "handlers", [])]
    simple = (ast.Import, ast.ImportFrom, ast.Assign, ast.Pass)
    return any(isinstance(s, (ast.Import, ast.ImportFrom)) for b in blocks for s in b) and all(
        isinstance(s, simple) or _only_imports(s) for b in blocks for s in b
    )


def _is_docstring(body: list[ast.stmt], index: int) -> bool:
    first = body[index]
    return (
        index == 0
        and isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


def _head(statement: ast.stmt) -> str:
    if isinstance(statement, ast.ImportFrom):
        return f"from {statement.module} import"
    assert isinstance(statement, ast.Import)
    return f"import {statement.names[0].name}"


def _sort_key(code: str) -> tuple[bool, str]:
    kind, module, *_ = code.split()
    return kind == "from", module.lower()


def _line(node: ast.AST) -> int:
    decorators = getattr(node, "decorator_list", None)
    line: int = node.lineno  # type: ignore[attr-defined]
    return min(line, decorators[0].lineno) if decorators else line


def _start(node: ast.AST) -> tuple[int, int]:
    return _line(node), getattr(node, "col_offset", 0)


def _end(node: ast.AST) -> tuple[int, int]:
    return _last_line(node), getattr(node, "end_col_offset", 0)


def _last_line(node: ast.AST) -> int:
    line: int = node.end_lineno  # type: ignore[attr-defined]
    return line
