"""The mode that the code above a statement leaves a module in."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from bncodemod.scan.dropout import is_of_dropout
from bncodemod.scan.model_places import CHAIN
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import Function

_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_CHANGES = frozenset({"add_module", "append", "extend", "insert", "register_module"})
_CONDITIONAL = (ast.BoolOp, ast.IfExp, ast.Lambda, ast.comprehension)


class Mode(Enum):
    """What is known of a module's mode: ``UNKNOWN`` also where its parts may differ."""

    EVAL = "eval"
    TRAIN = "train"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Said:
    """What the code says last of a module's mode, and the line."""

    mode: Mode = Mode.UNKNOWN
    line: int = 0
    is_undone: bool = False
    """Whether something was done that may leave a part of it in train mode."""
    has_dropout_on: bool = False
    """Whether dropout, and nothing else, was put into train mode behind that."""


class LastMode:
    """Reads the modes of one module above a statement, in the scope of that."""

    def __init__(self, names: Names, module: str, statement: ast.stmt) -> None:
        self.names = names
        self.tree = names.tree
        self.module = module
        self.statement = statement
        self.scope = names.scopes.scope_of(statement)
        self.nodes = [
            node
            for node in self.tree.walk_below(self.scope)
            if isinstance(node, (ast.Call, ast.Assign, ast.AnnAssign, *_LOOPS))
            and names.scopes.scope_of(node) is self.scope
        ]
        self.aliases = self._aliases()

    def said(self) -> Said:
        """What is said last; a part or another name of the module counts only against ``EVAL``."""
        found = Said()
        for node in sorted((n for n in self.nodes if self._counts(n)), key=self._order):
            if self._switches_dropout(node):
                found = replace(found, has_dropout_on=True)
                continue
            mode = self._said_by(node)
            if mode is Mode.EVAL and self._is_certain(node):
                found = Said(mode, node.lineno)
            elif mode is Mode.EVAL and found.mode is not mode and self._is_chosen(node):
                found = Said(Mode.UNKNOWN, node.lineno, is_undone=True)
            elif mode in (Mode.TRAIN, Mode.UNKNOWN):
                found = Said(mode, node.lineno, is_undone=True)
            elif mode is None and self._rebinds(node):
                found = Said()
        return found

    def _aliases(self) -> set[str]:
        """The module, its parts and what is made of it, as the scope names them."""
        found = {self.module}
        size = 0
        while len(found) > size:
            size = len(found)
            for node in self.nodes:
                if isinstance(node, (ast.For, ast.AsyncFor)):
                    value, targets = node.iter, [node.target]
                elif isinstance(node, ast.Assign):
                    value, targets = node.value, node.targets
                else:
                    continue
                if _is_run(value, found):
                    continue
                if any(self._is_of(e, found) for e in _places(value)):
                    found.update(ast.unparse(t) for e in targets for t in _elements(e))
                elif isinstance(node, ast.Assign) and isinstance(value, _NAMED):
                    # ``model = nets[0]``: another name for the same.
                    if any(ast.unparse(target) in found for target in targets):
                        found.add(ast.unparse(value))
        return found

    def _is_of(self, node: ast.expr, names: set[str]) -> bool:
        """Whether an expression is one of the names, or a part of it."""
        text = ast.unparse(node)
        return any(text == name or text.startswith((f"{name}.", f"{name}[")) for name in names)

    def _holds(self, node: ast.expr) -> bool:
        """Whether an expression holds the module: ``self`` for ``self.net``."""
        text = ast.unparse(node)
        return any(name.startswith((f"{text}.", f"{text}[")) for name in self.aliases)

    def _said_by(self, node: ast.AST) -> Mode | None:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = getattr(node, "targets", None) or [node.target]  # type: ignore[union-attr]
            return self._assigned(targets, node.value)
        if not isinstance(node, ast.Call):
            return None
        if isinstance(node.func, ast.Attribute):
            return self._method(node, node.func)
        return self._function(node)

    def _switches_dropout(self, node: ast.AST) -> bool:
        """Whether a node puts dropout alone into train mode, itself or by a function it calls."""
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            return isinstance(target, ast.Attribute) and self._trains_dropout(target)
        if not isinstance(node, ast.Call):
            return False
        if not isinstance(node.func, ast.Attribute):
            given, function = node.args, node.func
        elif node.func.attr == "apply" and node.args:
            given, function = [node.func.value], node.args[0]
        else:
            return self._trains_dropout(node.func)
        if not any(self._is_of(value, self.aliases) for value in given):
            return False
        trainings = list(self._trainings_in(function))
        return bool(trainings) and all(is_of_dropout(self.names, each) for each in trainings)

    def _trains_dropout(self, node: ast.Attribute) -> bool:
        """Whether an attribute puts a part of the module into train mode that is dropout."""
        return (
            self._is_of(node.value, self.aliases)
            and may_train(node, self.tree.parents.get(node))
            and is_of_dropout(self.names, node)
        )

    def _assigned(self, targets: list[ast.expr], value: ast.expr | None) -> Mode | None:
        for target in targets:
            if isinstance(target, ast.Attribute) and target.attr == "training":
                if self._is_of(target.value, self.aliases) or self._holds(target.value):
                    return None if _is_false(value) else Mode.TRAIN
            elif ast.unparse(target) == self.module:
                return self._built(value)
            elif isinstance(target, (ast.Attribute, ast.Subscript)):
                if self._is_of(target.value, {self.module}):
                    return Mode.UNKNOWN
        return None

    def _built(self, value: ast.expr | None) -> Mode | None:
        """The mode that methods chained to what is assigned to the module set last."""
        while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            if value.func.attr in ("eval", "train"):
                return _set_by(value)
            if value.func.attr not in CHAIN:
                break
            value = value.func.value
        return None

    def _method(self, call: ast.Call, function: ast.Attribute) -> Mode | None:
        owner = _unchained(function.value)
        is_whole = ast.unparse(owner) == self.module
        if function.attr in ("eval", "train"):
            mode = _set_by(call)
            if is_whole or (mode is Mode.EVAL and self._holds(owner)):
                return mode
            if mode is not Mode.EVAL and (self._is_of(owner, self.aliases) or self._holds(owner)):
                return mode
            return None
        if function.attr == "apply" and (is_whole or self._is_of(owner, self.aliases)):
            return self._applied(call.args[0]) if call.args else None
        if function.attr in _CHANGES and self._is_of(owner, {self.module}):
            return Mode.UNKNOWN
        return self._function(call)

    def _function(self, call: ast.Call) -> Mode | None:
        """A call that is handed the module: of ``setattr``, or of a function of the file."""
        if not any(self._is_of(value, self.aliases) for value in call.args):
            return None
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        if name == "setattr" and len(call.args) == 3:
            is_mode = isinstance(call.args[1], ast.Constant) and call.args[1].value == "training"
            return None if is_mode and _is_false(call.args[2]) else Mode.UNKNOWN
        switching = self.names.index.uses.switching
        is_other = self.names.qualified(call.func).rpartition(".")[2] in switching
        return Mode.UNKNOWN if is_other or self._sets_train_mode(call.func) else None

    def _applied(self, function: ast.expr) -> Mode | None:
        known = isinstance(function, ast.Lambda) or any(
            meaning.definition for meaning in self.names.meanings(function)
        )
        return Mode.UNKNOWN if not known or self._sets_train_mode(function) else None

    def _sets_train_mode(self, function: ast.expr) -> bool:
        """Whether a function of the file may put a module into train mode."""
        return any(True for _ in self._trainings_in(function))

    def _trainings_in(self, function: ast.expr) -> Iterator[ast.Attribute]:
        """What may put a module into train mode in a function of the file."""
        bodies: list[ast.AST] = [function] if isinstance(function, ast.Lambda) else []
        bodies += [
            meaning.definition
            for meaning in self.names.meanings(function)
            if isinstance(meaning.definition, (ast.Lambda, *Function))
        ]
        for body in bodies:
            for node in self.tree.walk_below(body):
                if isinstance(node, ast.Attribute):
                    if may_train(node, self.tree.parents.get(node)):
                        yield node

    def _rebinds(self, node: ast.AST) -> bool:
        targets = node.targets if isinstance(node, ast.Assign) else []
        return any(
            ast.unparse(t) == self.module or self.module.startswith(f"{ast.unparse(t)}.")
            for target in targets
            for t in _elements(target)
        )

    def _counts(self, node: ast.expr | ast.stmt) -> bool:
        """Whether a node may have run before the statement does."""
        if self.statement in (node, *self.tree.ancestors(node)):
            # ``evaluate(model.eval())``: what is chained in the statement itself runs there.
            return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.lineno >= self.statement.lineno:
            return self._shared_loop(node) is not None
        return not self._is_exclusive(node)

    def _order(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """What a loop runs behind the statement comes before all that it runs the next time."""
        loop = self._shared_loop(node) if node.lineno > self.statement.lineno else None
        return (loop.lineno, -1) if loop is not None else (node.lineno, node.end_col_offset or 0)

    def _shared_loop(self, node: ast.AST) -> ast.stmt | None:
        loops = [a for a in self.tree.ancestors(self.statement) if isinstance(a, _LOOPS)]
        around = {*self.tree.ancestors(node)}
        shared = [loop for loop in loops if loop in around]
        return shared[-1] if shared else None

    def _is_exclusive(self, node: ast.AST) -> bool:
        """Whether an ``if`` lets only one of a node and the statement run."""
        path = [self.statement, *self.tree.ancestors(self.statement)]
        for above in self.tree.ancestors(node):
            if above in path:
                if not isinstance(above, ast.If):
                    return False
                mine, other = ({*self.tree.ancestors(n), n} for n in (self.statement, node))
                return any(
                    not mine.isdisjoint(a) and not other.isdisjoint(b)
                    for a, b in ((above.body, above.orelse), (above.orelse, above.body))
                )
        return False

    def _is_certain(self, node: ast.AST) -> bool:
        """Whether a node ran if the statement runs: in a block around it, under no condition."""
        earlier = self.tree.statement(node)
        for above in self.tree.ancestors(node):
            if isinstance(above, _CONDITIONAL):
                return False
            if above is earlier:
                break
        return earlier is self.statement or self._is_passed(earlier)

    def _is_chosen(self, node: ast.AST) -> bool:
        """Whether a condition that does not ask for the module itself decides on a node."""
        around = {self.statement, *self.tree.ancestors(self.statement)}
        root = self.module.partition(".")[0]
        return any(
            isinstance(above, ast.If)
            and above not in around
            and not any(isinstance(n, ast.Name) and n.id == root for n in ast.walk(above.test))
            for above in self.tree.ancestors(node)
        )

    def _is_passed(self, earlier: ast.stmt) -> bool:
        holder = self.tree.parents.get(earlier)
        child: ast.AST = self.statement
        for above in self.tree.ancestors(self.statement):
            if above is holder:
                blocks = [getattr(above, name, None) for name in ("body", "orelse", "finalbody")]
                return any(b and earlier in b and child in b for b in blocks if isinstance(b, list))
            child = above
        return False


_NAMED = (ast.Name, ast.Attribute, ast.Subscript)


def _set_by(call: ast.Call) -> Mode:
    assert isinstance(call.func, ast.Attribute)
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    if call.func.attr == "eval" or (given and _is_false(given[0])):
        return Mode.EVAL
    return Mode.UNKNOWN if given and not isinstance(given[0], ast.Constant) else Mode.TRAIN


def may_train(node: ast.Attribute, above: ast.AST | None) -> bool:
    """Whether an attribute is a call of ``train``, or a store of ``training``, that is not off."""
    if node.attr == "training" and isinstance(node.ctx, ast.Store):
        return not _is_false(getattr(above, "value", None))
    called = isinstance(above, ast.Call) and above.func is node and node.attr == "train"
    return called and _set_by(above) is not Mode.EVAL  # type: ignore[arg-type]


def _is_false(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and not value.value


def _places(value: ast.expr) -> Iterator[ast.expr]:
    return (node for node in ast.walk(value) if isinstance(node, _NAMED))


def _elements(target: ast.expr) -> Iterator[ast.expr]:
    if isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            yield from _elements(element)
    else:
        yield target.value if isinstance(target, ast.Starred) else target


def _is_run(value: ast.expr, modules: set[str]) -> bool:
    """Whether an expression is what a module gives when it is called."""
    return isinstance(value, ast.Call) and ast.unparse(value.func) in modules


def _unchained(node: ast.expr) -> ast.expr:
    while (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CHAIN
    ):
        node = node.func.value
    return node
