"""The patches of built models that a file has, and those that its rewrite brings."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from bncodemod.catalog.torch import FLAG
from bncodemod.scan.model_places import Place, bound_by, holder_of, kept_in, modules_of
from bncodemod.scan.names import Names
from bncodemod.source.splice import Edit
from bncodemod.strategies.model_scope import Scope

TORCH = "replace_all_batch_norm_modules_"
KEEP = "freeze_batch_norm_statistics"
GROUP = "batch_norms_to_group_norms"
# The patch that each function makes: torch's, and those that the emitted code brings.
PATCHERS = {TORCH: "replace", KEEP: "keep-statistics", GROUP: "group-norm"}
# Kinds of patches after which a model has the state dict that it had before.
KEEPING = ("keep-statistics",)


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A call or loop of the file that patches ``target``; ``kind`` is as in the settings."""

    node: ast.AST
    target: str
    kind: str


class Patches:
    """The patches that a file has, and those that are decided on while it is rewritten.

    ``calls`` are the expressions whose models are patched, ``keeping`` those of them whose models
    keep their state dicts, ``loads`` the calls that load weights into models which still have their
    statistics then; ``drop_statistics`` says whether some patch loses running statistics,
    ``keep_statistics`` whether some patch keeps them, and ``makes_group_norms`` whether some patch
    puts GroupNorms in the place of batch norms.
    """

    def __init__(self, names: Names) -> None:
        self.names = names
        self.calls: set[ast.AST] = set()
        self.keeping: set[ast.AST] = set()
        self.loads: set[ast.AST] = set()
        self.drop_statistics = False
        self.keep_statistics = False
        self.makes_group_norms = False
        self._kept: list[Scope] = []
        self._insertions: dict[tuple[int, str], Edit] = {}

    def insertion(self, at: int, text: str) -> Edit:
        """An edit that puts ``text`` at a place: the same edit for two models of one variable."""
        return self._insertions.setdefault((at, text), Edit(at, at, lambda _: text))

    def note(self, kind: str, calls: tuple[ast.Call, ...], loads: tuple[ast.expr, ...]) -> None:
        """Remember that the models of ``calls`` are patched, after the ``loads``."""
        self.calls.update(calls)
        self.keeping.update(calls if kind in KEEPING else ())
        self.loads.update(loads)
        self.drop_statistics |= kind not in KEEPING
        self.keep_statistics |= kind in KEEPING
        self.makes_group_norms |= kind == "group-norm"

    def note_kept(self, places: Iterable[Place]) -> None:
        """Remember where models are that have their statistics and use them in eval mode."""
        self._kept += [Scope(self.names, place) for place in places]

    def keeps(self, node: ast.AST) -> bool:
        """Whether a node is a part of a model that keeps its statistics.

        That is seen in a loop over its modules as well.
        """
        root = node
        while isinstance(root, (ast.Attribute, ast.Subscript)):
            root = root.value
            if isinstance(root, ast.expr) and self._is_kept(ast.unparse(root), node):
                return True
        for loop in self.names.tree.ancestors(node):
            if model := modules_of(loop):
                return self._is_kept(model, loop)
        return False

    def _is_kept(self, model: str, at: ast.AST) -> bool:
        scope = self.names.scopes.scope_of(at)
        return any(kept.scope is scope and model in kept.targets for kept in self._kept)

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
            loop = next((a for a in tree.ancestors(node) if modules_of(a)), None)
            if loop is None or not isinstance(value, ast.Constant) or value.value is not False:
                continue
            yield Patch(loop, modules_of(loop), "keep-statistics")

    def _patched(self, value: ast.expr) -> str:
        """What a patch is told to patch; the elements of a list stand for it."""
        if isinstance(value, ast.Name):
            for binding in self.names.scopes.reaching(value) or ():
                loop = self.names.tree.parents.get(binding.node)
                if isinstance(loop, ast.For) and loop.target is binding.node:
                    return ast.unparse(loop.iter)
        return ast.unparse(value)


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


def standing_patch_of_part(names: Names, patches: Patches, node: ast.expr) -> Patch | None:
    """The patch of the file for a model that what an expression gives holds: ``learner.model``."""
    for place in bound_by(names, node):
        scope = Scope(names, place)
        for patch in patches.standing.values():
            if f"{patch.target}.".startswith(f"{place.target}."):
                if scope.is_later(patch.node) and scope.always(patch.node):
                    return patch
    return None
