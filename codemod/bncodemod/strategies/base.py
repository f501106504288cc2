"""What every strategy that rewrites constructors and class references can do."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from bncodemod.catalog.torch import NormClass
from bncodemod.scan.need import Need
from bncodemod.strategies.decision import Decision

if TYPE_CHECKING:
    from bncodemod.strategies.context import Context


class Strategy(Protocol):
    """One way of making a norm safe under vmap."""

    name: str
    keeps_batch_norm: bool
    """Whether a batch norm is still one after the rewrite."""
    rewrites_source: bool
    """Whether the norms that the project's own source builds are rewritten."""
    class_meets: frozenset[Need]
    """What the class of ``reference_as_class`` can be used for, if the code at hand allows it."""

    def constructor(self, context: Context, call: ast.Call, norm: NormClass) -> Decision:
        """Decide on a call that builds ``norm``."""

    def partial(self, context: Context, call: ast.Call, norm: NormClass) -> Decision:
        """Decide on ``functools.partial(norm, …)``."""

    def reference(self, context: Context, node: ast.expr, norm: NormClass) -> Decision:
        """Decide on a mention of ``norm`` as a value that will be called with its signature."""

    def reference_as_class(self, context: Context, node: ast.expr, norm: NormClass) -> Decision:
        """Decide on a mention of ``norm`` as a value that has to stay a class."""

    def partial_as_class(self, context: Context, call: ast.Call, norm: NormClass) -> Decision:
        """Decide on ``functools.partial(norm, …)`` whose class something unwraps."""

    def factory(self, context: Context, at: ast.AST, norm: NormClass, **given: float) -> str:
        """Code for a callable that builds the safe norm, with arguments such as ``eps`` given."""

    def settled(
        self, context: Context, node: ast.AST, decision: Decision, undo: Callable[[], None]
    ) -> Decision:
        """The last word on a rule's decision; ``undo`` takes back what it has asked for."""


def factory_arguments(given: dict[str, float]) -> str:
    """``, eps=0.001`` for the arguments that a factory carries."""
    return "".join(f", {name}={value!r}" for name, value in given.items())
