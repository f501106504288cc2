"""Calls: what they are given."""

from __future__ import annotations

import ast


def arguments_of(call: ast.Call) -> list[ast.expr]:
    """All that a call is given, by position and then by keyword; of ``**options``, ``options``."""
    return [*call.args, *(keyword.value for keyword in call.keywords)]
