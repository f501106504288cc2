"""Which names the classes and functions of a file mention, and those mention in turn."""

from __future__ import annotations

import ast


class Mentions:
    """The names in each top-level class and function of a file."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
        self._direct = {
            statement.name: {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            for statement in tree.body
            if isinstance(statement, (ast.ClassDef, ast.FunctionDef))
        }

    def all_of(self, name: str) -> frozenset[str]:
        """What ``name`` mentions, by way of others of the file too; itself included."""
        found = {name}
        waiting = [name]
        while waiting:
            new = self._direct.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return frozenset(found)
