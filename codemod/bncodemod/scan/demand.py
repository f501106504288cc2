"""What is found out of one value: what calls it, what demands a class, where it leaves the file."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from bncodemod.scan.index import Elsewhere, Exit
from bncodemod.scan.need import Need


@dataclass(frozen=True, slots=True)
class Demand:
    """A use that works with a class only.

    ``elsewhere`` is the use if it is in another file, which the value reaches by way of ``node``;
    ``guessed`` says that the file alone does not show it.
    """

    node: ast.AST
    need: Need
    elsewhere: Elsewhere | None = None
    guessed: bool = False


@dataclass(slots=True)
class Flow:
    """The uses of one value.

    ``unwrapped`` says whether some use reads ``.func``: it expects that the value may be a partial.
    ``exits`` are the ways on which it leaves the file, each with what is guessed of it there;
    ``lost`` says whether it goes where not even that can be said, ``unseen_method`` whether that is
    a method of an object whose class no file shows, ``returned`` whether the function
    that it entered from another file gives it back there.
    ``called_elsewhere``: it is called in other files, by the name that this file gives it;
    ``sure_elsewhere``: nothing else can be what those calls call. ``star_calls`` are its calls with
    the ``*args`` of the function that it entered from another file.
    """

    calls: list[ast.Call] = field(default_factory=list)
    demands: list[Demand] = field(default_factory=list)
    escapes: list[ast.AST] = field(default_factory=list)
    exits: dict[Exit, list[Demand]] = field(default_factory=dict)
    class_attributes: list[ast.Name] = field(default_factory=list)
    star_calls: list[ast.Call] = field(default_factory=list)
    unwrapped: bool = False
    lost: bool = False
    unseen_method: bool = False
    returned: bool = False
    called_elsewhere: bool = False
    sure_elsewhere: bool = True

    @property
    def is_built(self) -> bool:
        """Whether something may build a layer of the value."""
        return bool(self.calls or self.escapes or self.called_elsewhere)
