"""What becomes of a model in the scope that keeps it: what it is called, when it is loaded."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cached_property

from bncodemod.scan.model_places import Place, kept_in, whole
from bncodemod.scan.names import Names
from bncodemod.scan.weights import LOADING, LOADING_WORDS
from bncodemod.source.dotted_names import dotted
from bncodemod.source.tree import LazyTree
from bncodemod.strategies.surely_bound import is_surely_bound

_OF_A_MODEL = re.compile(r"state|weight|checkpoint|ckpt|pretrain|model", re.IGNORECASE)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_LEAVES = (ast.Return, ast.Yield, ast.YieldFrom, ast.Break, ast.Continue)


class Scope:
    """The statements behind the one that keeps a model, in its scope, and what they do with it."""

    def __init__(self, names: Names, place: Place) -> None:
        self.names = names
        self.tree: LazyTree = names.tree
        self.place = place
        self.scope = names.scopes.scope_of(place.statement)

    @cached_property
    def targets(self) -> set[str]:
        """What the model is called: its target, and variables that it is assigned to from there."""
        found = {self.place.target}
        last = self.place.target.rpartition(".")[2]
        for node in self.tree.occurrences(last):
            if isinstance(node, ast.expr) and ast.unparse(node) == self.place.target:
                other = kept_in(self.names, whole(self.names, node))
                if other is not None and self.is_later(other.statement):
                    found.add(other.target)
                found.update(self._elements(node))
        return found

    def _elements(self, node: ast.AST) -> Iterator[str]:
        """The variables of a loop over the models, which a list or tuple holds."""
        for above in self.tree.ancestors(node):
            if isinstance(above, ast.Attribute):
                return  # ``model.modules()`` gives parts of it
            if isinstance(above, (ast.For, ast.comprehension)) and self._is_in(node, above.iter):
                yield from (n.id for n in ast.walk(above.target) if isinstance(n, ast.Name))
            if isinstance(above, ast.stmt):
                return

    def _is_in(self, node: ast.AST, expression: ast.expr) -> bool:
        return node is expression or expression in self.tree.ancestors(node)

    def reaches(self, patched: str) -> bool:
        """Whether what is called ``patched`` is the model, or holds it."""
        return any(f"{target}.".startswith(f"{patched}.") for target in self.targets)

    def is_later(self, node: ast.AST) -> bool:
        """Whether a node stands behind the statement, in the same scope, and both may run."""
        start = self.place.statement.end_lineno or 0, self.place.statement.end_col_offset or 0
        if (node.lineno, node.col_offset) < start:  # type: ignore[attr-defined]
            return False
        if self.names.scopes.scope_of(node) is not self.scope:
            return False
        return not self._is_exclusive(node)

    def always(self, node: ast.AST) -> bool:
        """Whether a later node runs wherever the model was built."""
        holder, _ = self._common(node)
        for above in self.tree.ancestors(node):
            if above is holder:
                return True
            if isinstance(above, (ast.If, ast.While, ast.ExceptHandler, ast.match_case)):
                return False
            if isinstance(above, (ast.For, ast.AsyncFor)) and above is not node:
                if not self._is_over_models(above):
                    return False
        return False

    def _is_over_models(self, loop: ast.For | ast.AsyncFor) -> bool:
        return ast.unparse(loop.iter) in self.targets

    @cached_property
    def loads(self) -> tuple[ast.Call, ...]:
        """The later calls that load weights into the model, or seem to."""
        words = {w for part in LOADING_WORDS for w in self.tree.words_with(part)}
        found = {
            call
            for word in words
            if LOADING.search(word)
            for node in self.tree.occurrences(word)
            for call in [self.tree.parents.get(node)]
            if isinstance(call, ast.Call) and call.func is node and self._loads(call, word)
        }
        return self.in_order(found)

    def loads_and(self, calls: Iterable[ast.Call]) -> tuple[ast.Call, ...]:
        """The loads, and those of ``calls`` that are as late."""
        return self.in_order({*self.loads, *calls})

    def in_order(self, calls: Iterable[ast.Call]) -> tuple[ast.Call, ...]:
        """Those of the calls that run once the model is built, in the order of the source."""
        later = [call for call in calls if self.is_later(call) and not self._rebound(call)]
        return tuple(sorted(later, key=lambda call: (call.lineno, call.col_offset)))

    def _loads(self, call: ast.Call, method: str) -> bool:
        arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
        if any(dotted(a) in self.targets for a in arguments):
            return True
        if not isinstance(call.func, ast.Attribute):
            return False
        owner = call.func.value
        while isinstance(owner, ast.Subscript):  # one of several models
            owner = owner.value
        receiver = dotted(owner).removesuffix(".module")
        if not receiver:
            return False
        if any(f"{receiver}.".startswith(f"{target}.") for target in self.targets):
            return True
        return bool(_OF_A_MODEL.search(method)) and self.reaches(receiver)

    def _rebound(self, call: ast.Call) -> bool:
        """Whether the variable holds another model by the time of a call."""
        name = self.place.target
        for node in self.tree.occurrences(name.rpartition(".")[2]):
            other = self.tree.parents.get(node)
            if not isinstance(other, ast.Assign) or node not in other.targets:
                continue
            behind = self.is_later(other) and other.lineno < call.lineno
            if behind and ast.unparse(node) == name and name not in _names_in(other.value):
                return True
        return False

    def statement_after(self, loads: tuple[ast.Call, ...]) -> ast.stmt | None:
        """The statement behind which the model is built and loaded on every way, if one is."""
        last: ast.stmt = self.place.statement
        for load in loads:
            holder, sibling = self._common(load)
            if not isinstance(sibling, ast.stmt) or self._is_in_loop(load, sibling, holder):
                return None
            if (sibling.end_lineno or 0) > (last.end_lineno or 0):
                last = sibling
        if not loads:
            return last
        is_reached = not self._may_leave(last) and is_surely_bound(self.tree, self.place, last)
        return last if is_reached else None

    def _is_in_loop(self, load: ast.AST, sibling: ast.AST, holder: ast.AST) -> bool:
        """Whether a loop runs the load, or the statement that builds the model, by itself."""
        inner = [sibling] if isinstance(sibling, _LOOPS) else []
        for node in (load, self.place.statement):
            for above in self.tree.ancestors(node):
                if above is holder:
                    break
                inner += [above] if isinstance(above, _LOOPS) else []
        return bool(inner)

    def _may_leave(self, last: ast.stmt) -> bool:
        """Whether the function may be left between the building of the model and a statement."""
        first, end = self.place.statement.end_lineno or 0, last.end_lineno or 0
        below = self.tree.walk_below(self.scope)
        return any(
            isinstance(node, _LEAVES) and first < node.lineno <= end and self.is_later(node)
            for node in below
        )

    def _common(self, node: ast.AST) -> tuple[ast.AST, ast.AST]:
        """What holds both the statement and a node, and its child that holds the node."""
        holders = {*self.tree.ancestors(self.place.statement)}
        child = node
        for above in self.tree.ancestors(node):
            if above in holders:
                return above, child
            child = above
        return self.tree.module, child

    def _is_exclusive(self, node: ast.AST) -> bool:
        """Whether an ``if`` or ``match`` lets only one of the statement and the node run."""
        holder, child = self._common(node)
        if isinstance(holder, ast.If):
            own = _child_of(self.tree, self.place.statement, holder)
            return (own in holder.body) != (child in holder.body)
        return isinstance(holder, ast.Match)


def _child_of(tree: LazyTree, node: ast.AST, holder: ast.AST) -> ast.AST:
    child = node
    for above in tree.ancestors(node):
        if above is holder:
            return child
        child = above
    return child


def _names_in(value: ast.expr) -> set[str]:
    return {ast.unparse(n) for n in ast.walk(value) if isinstance(n, (ast.Name, ast.Attribute))}
