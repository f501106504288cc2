"""What a rule is: a code, a kind of site and a generator of matches."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """A place that a rule has found.

    ``decide`` is called only if the rule is enabled and no comment suppresses the match. No other
    rule, of those that come later, gets the nodes in ``claims``; the node itself is always claimed.
    """

    node: ast.AST
    decide: Callable[[], Decision]
    claims: tuple[ast.AST, ...] = ()


Check = Callable[[Context], Iterator[Match]]


class Rule:
    """A rule; a module of this package holds one under the name ``rule``.

    Rules run in the order of ``priority``, then of their codes: one that knows a special form of
    what another rule finds comes first and claims it. ``at_run_time`` marks a hazard (BN3xx) that
    concerns a model which is patched once it is built as well, ``of_lost_statistics`` one that is
    none where all norms of a file keep their statistics. ``strategies`` names those
    that a rule belongs to: it runs under no other, and its decisions are final.
    """

    def __init__(
        self,
        code: str,
        kind: str,
        *,
        priority: int = 10,
        at_run_time: bool = False,
        of_lost_statistics: bool = False,
        strategies: tuple[str, ...] = (),
    ) -> None:
        self.code = code
        self.kind = kind
        self.priority = priority
        self.at_run_time = at_run_time
        self.of_lost_statistics = of_lost_statistics
        self.strategies = strategies
        self.check: Check = lambda _: iter(())

    def finds(self, check: Check) -> Check:
        """Register the generator of the rule's matches (a decorator)."""
        self.check = check
        return check
