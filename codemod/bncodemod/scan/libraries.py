"""Where a file names something that it imports from a given library, and what it tells that."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from bncodemod.scan.names import OPTIONAL_IMPORTS, Names
from bncodemod.scan.scopes import imported

_IMPORTERS = ("import_module", "__import__")

Reference = tuple[ast.expr, str]


def references(names: Names, packages: Iterable[str], exported: Iterable[str]) -> list[Reference]:
    """The dotted expressions that name something in ``packages`` by imports, and what they name.

    ``exported`` are qualified names that a star import from one of them may bring in.
    """
    packages = tuple(packages)
    spellings = names.index.spellings(*packages)
    tree = names.tree
    tree.expand_imports()
    local: set[str] = set()
    for alias in tree.of_type(ast.alias):
        bound = imported(alias, tree.parent(alias))
        if any(_leads_to(bound, package) for package in (*packages, *spellings)):
            local.add(alias.asname or alias.name.partition(".")[0])
    local.update(_imported_by_call(names))
    for star in names.star_modules:
        prefix = imported(star.names[0], star).removesuffix("*")
        local.update(s[len(prefix) :].partition(".")[0] for s in spellings if s.startswith(prefix))
        if not star.level and any(_leads_to(prefix[:-1], package) for package in packages):
            local.update(
                q[len(prefix) :].partition(".")[0] for q in exported if q.startswith(prefix)
            )
    roots: list[ast.expr] = [
        node
        for name in local
        for node in tree.occurrences(name)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    ]
    return _sorted(
        (chain, qualified)
        for node in dict.fromkeys((*roots, *_importing_calls(names)))
        for chain in [_whole(names, node)]
        for qualified in [names.qualified(chain)]
        if any(f"{qualified}.".startswith(f"{package}.") for package in packages)
        and not names.index.is_own(qualified)
    )


def _imported_by_call(names: Names) -> Iterator[str]:
    """The variables that ``import_module("torchvision.models")`` and its like are assigned to."""
    for call in _importing_calls(names):
        statement = names.tree.statement(call)
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        for below in (n for target in targets for n in ast.walk(target)):
            if isinstance(below, ast.Name):
                yield below.id


def _importing_calls(names: Names) -> Iterator[ast.Call]:
    """``import_module("torchvision.models")`` and its like."""
    for helper in (*OPTIONAL_IMPORTS, *_IMPORTERS):
        for node in named(names, helper):
            if (call := names.tree.call_to(node)) is not None:
                yield call


def uses_of(names: Names, wanted: Iterable[str]) -> list[Reference]:
    """The expressions that are one of the ``wanted`` qualified names."""
    wanted = frozenset(wanted)
    text = names.tree.source.text
    spelled = (name for name, target in names.index.names.items() if target in wanted)
    found = {
        node: qualified
        for last in {name.rpartition(".")[2] for name in (*wanted, *spelled)}
        if last in text
        for node in named(names, last)
        for qualified in [_meant(names, node, wanted)]
        if qualified in wanted
    }
    return _sorted(found.items())


def mentions_library(names: Names, library: str) -> bool:
    """Whether a file may use something of a library: it names it, or imports it by another file."""
    return library in names.tree.source.text or bool(names.index.spellings(library))


def argument(
    call: ast.Call, name: str | None, position: int | None, skip: int = 0
) -> ast.expr | None:
    """The argument that a call gives a parameter, if it gives one.

    ``skip`` is the number of leading arguments that are not the callable's own, as in a partial.
    """
    for keyword in call.keywords:
        if keyword.arg is not None and keyword.arg == name:
            return keyword.value
    positional = call.args[skip:]
    if position is not None and position < len(positional):
        return positional[position]
    return None


def is_off(node: ast.expr) -> bool:
    """Whether an argument says that nothing is wanted: no weights, no checkpoint."""
    return isinstance(node, ast.Constant) and node.value in (None, False, "")


def has_mapping(call: ast.Call) -> bool:
    """Whether ``**`` may hide an argument of a call."""
    return any(keyword.arg is None for keyword in call.keywords)


def _meant(names: Names, node: ast.expr, wanted: frozenset[str]) -> str:
    """What an expression surely is; one of the ``wanted`` norms where it may be several norms."""
    found = dict.fromkeys(meaning.qualified for meaning in names.meanings(node))
    if len(found) > 1 and all(map(names.index.norm, found)):
        return next((qualified for qualified in found if qualified in wanted), "")
    return "" if len(found) > 1 else next(iter(found))


def _leads_to(bound: str, package: str) -> bool:
    """Whether what an import binds lies in a package, or the package in it."""
    return f"{bound}.".startswith(f"{package}.") or f"{package}.".startswith(f"{bound}.")


def named(names: Names, last: str) -> Iterator[ast.expr]:
    """The reads of a name, of an attribute, or of what an import renames it to."""
    local = {last}
    for node in names.tree.occurrences(last):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node
    names.tree.expand_imports()
    local.update(a.asname for a in names.tree.of_type(ast.alias) if a.name == last and a.asname)
    for name in local:
        for node in names.tree.occurrences(name):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                yield node


def _whole(names: Names, node: ast.expr) -> ast.expr:
    """The longest chain of attributes that begins with an expression.

    ``getattr(models, "resnet18")`` is one more.
    """
    above = names.tree.parents.get(node)
    while isinstance(above, ast.Attribute) or _gets_attribute(names, above, node):
        node, above = above, names.tree.parents.get(above)  # type: ignore[assignment,arg-type]
    return node


def _gets_attribute(names: Names, call: ast.AST | None, owner: ast.expr) -> bool:
    if not isinstance(call, ast.Call) or call.args[:1] != [owner]:
        return False
    is_getattr = isinstance(call.func, ast.Name) and call.func.id == "getattr"
    return is_getattr and bool(names.qualified(call))


def _sorted(found: Iterable[Reference]) -> list[Reference]:
    return sorted(found, key=lambda pair: (pair[0].lineno, pair[0].col_offset))
