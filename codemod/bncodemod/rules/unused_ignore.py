"""A suppression comment suppresses nothing.

``# bncodemod: ignore`` or ``# bncodemod: ignore[BN101]`` stands on a line where no rule, or none of
those named, finds anything: the code has changed since, or the code in brackets is misspelt. A
stale comment would hide the next site that comes to stand there.

Before:
    self.norm = nn.GroupNorm(16, 64)  # bncodemod: ignore[BN101]

By hand: remove the comment, or correct the code in brackets.
"""

from __future__ import annotations

from bncodemod.rules.rule import Rule

# Only the core knows which comments were used: it reports this rule's findings itself.
rule = Rule("BN001", "unused suppression")
