"""What rules and strategies know of the file at hand."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cached_property

from bncodemod.scan.called_modules import CalledModules
from bncodemod.scan.mentions import Mention, mentions
from bncodemod.scan.names import Names
from bncodemod.scan.norm_freezing import Freeze, freezes_of
from bncodemod.scan.transforms import Transforms
from bncodemod.scan.weights import Transfer, loads_of, saves_of
from bncodemod.settings import Settings
from bncodemod.source.splice import Edit
from bncodemod.source.tree import LazyTree
from bncodemod.strategies import call_edit
from bncodemod.strategies.base import Strategy
from bncodemod.strategies.imports import Imports
from bncodemod.strategies.patches import Patches


@dataclass(frozen=True, slots=True)
class Calls:
    """How the calls of a file under transforms come out.

    ``way`` says in words how all models run there, so that it works; it is empty where that is not
    known of all of them. ``doubt`` is the first call of which it is not.
    """

    way: str = ""
    doubt: str = ""

    @property
    def reason(self) -> str:
        """Why norms can stay as they are."""
        return f"models run {self.way} where they run under a transform"


@dataclass
class Context:
    """One file, its names, its settings, its strategy and the imports that edits may add."""

    names: Names
    settings: Settings
    strategy: Strategy
    imports: Imports
    # What rules have matched so far: a later one leaves it alone.
    claimed: set[ast.AST] = field(default_factory=set)
    # What is known of the models of the file where they are called under transforms: under
    # eval-mode and auto.
    calls: Calls = Calls()
    # Whether norms of the file's own source lose their statistics, now or before this run, and
    # whether the strategy leaves some that would have lost them.
    loses_statistics: bool = False
    leaves_statistics: bool = False

    @cached_property
    def patches(self) -> Patches:
        """The models that are patched at run time, by the file or by its rewrite."""
        return Patches(self.names)

    @property
    def keeps_all_statistics(self) -> bool:
        """Whether the file has norms whose statistics are kept, and none that loses them."""
        keeps = self.leaves_statistics or self.patches.keep_statistics
        return keeps and not self.loses_statistics and not self.patches.drop_statistics

    @property
    def patches_to_group_norms(self) -> bool:
        """Whether models may be patched to have GroupNorms, by this file or by another."""
        by_others = (self.settings.strategy, self.settings.patch) == ("runtime-patch", "group-norm")
        return self.patches.makes_group_norms or by_others

    @cached_property
    def called_modules(self) -> CalledModules:
        """What tells which modules the functions of the file call, and run under transforms."""
        return CalledModules(self.names, Transforms(self.names))

    @cached_property
    def loads(self) -> list[Transfer]:
        """The calls that load weights."""
        return loads_of(self.names)

    @cached_property
    def saves(self) -> list[Transfer]:
        """The calls that take the state of models, or save them."""
        return saves_of(self.names)

    @property
    def tree(self) -> LazyTree:
        """The parsed file."""
        return self.names.tree

    @cached_property
    def mentions(self) -> list[Mention]:
        """Where the file names a norm class."""
        return mentions(self.names)

    @cached_property
    def freezes(self) -> list[Freeze]:
        """Where the file puts norms alone into eval mode."""
        return freezes_of(self.names, self.mentions)

    @property
    def keeps_batch_norm(self) -> bool:
        """Whether a batch norm is still one after the rewrite."""
        return self.strategy.keeps_batch_norm

    def newline(self, node: ast.AST) -> str:
        """The line ending in force at a node."""
        return self.tree.source.newline(self.tree.span(node)[0])

    def replace(self, node: ast.AST, text: str) -> Edit:
        """An edit that puts ``text`` in the place of a node."""
        start, end = self.tree.span(node)
        return Edit(start, end, lambda _: text)

    def append(self, call: ast.Call, keyword: str, value: str) -> Edit:
        """An edit that adds a keyword argument to a call."""
        start, end = self.tree.span(call)
        newline = self.newline(call)
        return Edit(
            start,
            end,
            lambda text: call_edit.edit_call(
                text, newline, lambda node: call_edit.append(node, keyword, value)
            ),
        )

    def line(self, node: ast.AST) -> int:
        """The line on which a node begins."""
        return self.tree.source.position(self.tree.span(node)[0])[0]
