"""What becomes of a model in the scope that builds it: where it is kept, loaded and patched."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from bncodemod.catalog.torch import FLAG
from bncodemod.scan.names import Names
from bncodemod.source.splice import Edit
from bncodemod.source.tree import LazyTree

TORCH = "replace_all_batch_norm_modules_"
KEEP = "freeze_batch_norm_statistics"
GROUP = "batch_norms_to_group_norms"
# The patch that each function makes: torch's, and those that the emitted code brings.
PATCHERS = {TORCH: "replace", KEEP: "keep-statistics", GROUP: "group-norm"}
# Methods of a module that give the module back.
CHAIN = frozenset(
    {
        "apply",
        "bfloat16",
        "cpu",
        "cuda",
        "double",
        "eval",
        "float",
        "half",
        "requires_grad_",
        "share_memory",
        "to",
        "train",
        "type",
        "xpu",
    }
)
_WRAPPERS = frozenset({"torch.nn.DataParallel", "torch.nn.parallel.DataParallel"})
_HOLDERS = (
    ast.keyword,
    ast.List,
    ast.Tuple,
    ast.Dict,
    ast.Starred,
    ast.IfExp,
    ast.BoolOp,
    ast.NamedExpr,
    ast.ListComp,
    ast.GeneratorExp,
)
_LOADING_WORDS = ("load", "restore", "resume")
_LOADING = re.compile(r"(?:^|_)(?:load|restore|resume)(?:_|$)", re.IGNORECASE)
_OF_A_MODEL = re.compile(r"state|weight|checkpoint|ckpt|pretrain|model", re.IGNORECASE)
# Kinds of patches after which a model has the state dict that it had before.
KEEPING = ("keep-statistics",)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_LEAVES = (ast.Return, ast.Yield, ast.YieldFrom, ast.Break, ast.Continue)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a model is kept: a target such as ``self.net``, and the statement that binds it."""

    target: str
    statement: ast.stmt


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A call or loop of the file that patches ``target``; ``kind`` is as in the settings."""

    node: ast.AST
    target: str
    kind: str


class Patches:
    """The patches that a file has, and those that are decided on while it is rewritten.

    ``calls`` are the expressions whose models are patched, ``loads`` the calls that load weights
    into models which still have their statistics then; ``drop_statistics`` says whether some patch
    loses running statistics.
    """

    def __init__(self, names: Names) -> None:
        self.names = names
        self.calls: set[ast.AST] = set()
        self.loads: set[ast.AST] = set()
        self.drop_statistics = False
        self._kept: list[Scope] = []
        self._insertions: dict[tuple[int, str], Edit] = {}

    def insertion(self, at: int, text: str) -> Edit:
        """An edit that puts ``text`` at a place: the same edit for two models of one variable."""
        return self._insertions.setdefault((at, text), Edit(at, at, lambda _: text))

    def note(self, kind: str, calls: tuple[ast.Call, ...], loads: tuple[ast.Call, ...]) -> None:
        """Remember that the models of ``calls`` are patched, after the ``loads``."""
        self.calls.update(calls)
        self.loads.update(loads)
        self.drop_statistics |= kind not in KEEPING

    def note_kept(self, places: Iterable[Place]) -> None:
        """Remember where models are that have their statistics and use them in eval mode."""
        self._kept += [Scope(self.names, place) for place in places]

    def keeps(self, node: ast.AST) -> bool:
        """Whether a node stands in a loop over the modules of a model that keeps its statistics."""
        for loop in self.names.tree.ancestors(node):
            over = getattr(loop.iter, "func", None) if isinstance(loop, ast.For) else None
            if isinstance(over, ast.Attribute):
                scope = self.names.scopes.scope_of(loop)
                model = ast.unparse(over.value)
                return any(k.scope is scope and model in k.targets for k in self._kept)
        return False

    @cached_property
    def standing(self) -> dict[ast.AST, Patch]:
        """The patches of the file as it was read, by their nodes."""
        found = (*self._by_call(), *self._by_flag())
        return {patch.node: patch for patch in found}

    def _by_call(self) -> Iterator[Patch]:
        tree = self.names.tree
        for name, kind in PATCHERS.items():
            words = set(tree.words_with(name))
            if words:
                tree.expand_imports()
                words.update(
                    a.asname for a in tree.of_type(ast.alias) if a.name in words and a.asname
                )
            for word in words:
                for node in tree.occurrences(word):
                    call = tree.parents.get(node)
                    if isinstance(call, ast.Call) and call.func is node and len(call.args) == 1:
                        yield Patch(call, self._patched(call.args[0]), kind)

    def _by_flag(self) -> Iterator[Patch]:
        """Loops over ``model.modules()`` that switch the flag off."""
        tree = self.names.tree
        for node in tree.occurrences(FLAG):
            if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Store):
                continue
            value = getattr(tree.statement(node), "value", None)
            loop = next((a for a in tree.ancestors(node) if isinstance(a, ast.For)), None)
            if loop is None or not isinstance(value, ast.Constant) or value.value is not False:
                continue
            over = loop.iter.func if isinstance(loop.iter, ast.Call) else None
            if isinstance(over, ast.Attribute) and over.attr in ("modules", "named_modules"):
                yield Patch(loop, ast.unparse(over.value), "keep-statistics")

    def _patched(self, value: ast.expr) -> str:
        """What a patch is told to patch; the elements of a list stand for it."""
        if isinstance(value, ast.Name):
            for binding in self.names.scopes.reaching(value) or ():
                loop = self.names.tree.parents.get(binding.node)
                if isinstance(loop, ast.For) and loop.target is binding.node:
                    return ast.unparse(loop.iter)
        return ast.unparse(value)


def whole(names: Names, node: ast.expr) -> ast.expr:
    """The expression that is the model with the methods called on it that give it back."""
    tree = names.tree
    while True:
        above = tree.parents.get(node)
        outer = tree.parents.get(above) if above is not None else None
        if isinstance(above, ast.Attribute) and above.attr in CHAIN:
            if not isinstance(outer, ast.Call) or outer.func is not above:
                return node
            node = outer
        elif isinstance(above, ast.Call) and above.args[:1] == [node]:
            if names.qualified(above.func) not in _WRAPPERS:
                return node
            node = above
        else:
            return node


def kept_in(names: Names, node: ast.expr) -> Place | None:
    """The one variable or attribute to which an expression is assigned as it is."""
    statement = names.tree.parents.get(node)
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target: ast.expr = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign) and statement.value is node:
        target = statement.target
    else:
        return None
    return Place(ast.unparse(target), statement) if _is_dotted(target) else None


def bound_by(names: Names, node: ast.AST) -> tuple[Place, ...]:
    """All that the statement around an expression binds: the model may be part of any of it."""
    statement = names.tree.statement(node)
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    flat = [part for target in targets for part in getattr(target, "elts", [target])]
    return tuple(Place(ast.unparse(part), statement) for part in flat if _is_dotted(part))


def _is_dotted(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def standing_patch(names: Names, patches: Patches, node: ast.expr) -> Patch | None:
    """The patch of the file that surely reaches the model which an expression builds."""
    if not patches.standing:
        return None
    tree = names.tree
    holder = holder_of(names, node)
    for inner in (node, *tree.ancestors(node)):
        call = tree.parents.get(inner)
        if isinstance(call, ast.Call) and call in patches.standing and call.args[0] is inner:
            return patches.standing[call]
        if inner is holder:
            break
    place = kept_in(names, holder)
    if place is None:
        return None
    scope = Scope(names, place)
    for patch in patches.standing.values():
        if scope.reaches(patch.target) and scope.is_later(patch.node) and scope.always(patch.node):
            return patch
    return None


def holder_of(names: Names, node: ast.expr) -> ast.expr:
    """The largest expression around a model that holds it: chains, lists, modules of torch."""
    holder: ast.AST = node
    found = node
    for above in names.tree.ancestors(node):
        if not isinstance(above, (*_HOLDERS, ast.comprehension)):
            if not _passes(names, above, holder):
                break
        holder = above
        found = above if isinstance(above, ast.expr) else found
    return found


def _passes(names: Names, above: ast.AST, below: ast.AST) -> bool:
    """Whether a call holds a module that it is given, or a chain goes on with it."""
    if isinstance(above, ast.Attribute):
        return above.attr in CHAIN
    if not isinstance(above, ast.Call):
        return False
    if above.func is below:
        return isinstance(below, ast.Attribute)
    return names.qualified(above.func).startswith("torch.nn.")


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
        words = {w for part in _LOADING_WORDS for w in self.tree.words_with(part)}
        found = {
            call
            for word in words
            if _LOADING.search(word)
            for node in self.tree.occurrences(word)
            for call in [self.tree.parents.get(node)]
            if isinstance(call, ast.Call) and call.func is node and self._loads(call, word)
        }
        later = [call for call in found if self.is_later(call) and not self._rebound(call)]
        return tuple(sorted(later, key=lambda call: (call.lineno, call.col_offset)))

    def _loads(self, call: ast.Call, method: str) -> bool:
        arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
        if any(ast.unparse(a) in self.targets for a in arguments if _is_dotted(a)):
            return True
        if not isinstance(call.func, ast.Attribute):
            return False
        owner = call.func.value
        while isinstance(owner, ast.Subscript):  # one of several models
            owner = owner.value
        if not _is_dotted(owner):
            return False
        receiver = ast.unparse(owner).removesuffix(".module")
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
        return None if loads and self._may_leave(last) else last

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
