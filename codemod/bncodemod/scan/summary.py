"""What one file has to say to the others of its project, and what they may ask it.

A summary holds no syntax tree: it is pickled, and reduced to an index by ``scan/project.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from bncodemod.scan.index import Elsewhere, Exit


@dataclass(frozen=True, slots=True)
class Import:
    """``from module import name as local``, or ``import module as local`` where ``name`` is empty.

    ``name`` is ``*`` for a star import; ``exported`` says whether other modules can see it.
    """

    local: str
    module: str
    level: int
    name: str
    exported: bool

    @property
    def spelled(self) -> str:
        """The qualified name that the file itself gives to what is imported."""
        dots = "." * self.level
        if not self.name:
            return self.module if self.local else self.module.partition(".")[0]
        return f"{dots}{self.module}.{self.name}" if self.module else f"{dots}{self.name}"


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """A class of a module: its bases as written, the parameters of its own ``__init__``.

    ``has_star`` says whether that takes ``*args`` as well, ``intervenes`` whether the class has a
    say in its construction in any other way, ``mentioned`` whether its file speaks of it again;
    ``skips`` are the classes whose ``__init__`` it leaves out.
    """

    bases: tuple[str, ...]
    parameters: tuple[str, ...] | None
    has_star: bool = False
    intervenes: bool = False
    mentioned: bool = True
    skips: tuple[str, ...] = ()


class Asked(Enum):
    """What a request follows."""

    PARAMETER = "the parameter of a function or class of the file"
    USES = "the uses of an imported name"
    RESULTS = "what the calls of an imported function give"
    OWN = "the uses of a name of the module"
    ATTRIBUTE = "the reads of an attribute of a class"
    METHOD = "the parameter of methods of that name"


@dataclass(frozen=True, slots=True)
class Request:
    """A question to one file about a value that enters it."""

    asked: Asked
    name: str
    position: int | None = None
    keyword: str = ""


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """A flow without its nodes. ``exits`` come with what is guessed where nothing is known.

    ``star_demands`` hold where the call that hands the value over has many arguments.
    ``found`` says whether the file has what it was asked about, ``sees_to_flag`` whether the file
    itself shows what becomes of the flag that is handed to it.
    """

    found: bool = True
    demands: tuple[Elsewhere, ...] = ()
    exits: tuple[tuple[Exit, tuple[Elsewhere, ...]], ...] = ()
    calls: bool = False
    sure: bool = True
    unwrapped: bool = False
    escapes: bool = False
    returned: bool = False
    sees_to_flag: bool = False
    star_demands: tuple[Elsewhere, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """One file as the others see it.

    ``assigned`` maps a module's name to the dotted names it is bound to; ``others`` are the names
    that it binds in any other way. ``flag_exits`` are the ways on which it hands the flag to
    callables of other files. ``roots`` are the names from which something spelled like a norm is
    read or looked up, ``words`` all words of a file that imports modules or by a star. ``flows``
    are those of the norm classes that it names as values.
    """

    imports: tuple[Import, ...] = ()
    exported: tuple[str, ...] | None = None
    assigned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    classes: Mapping[str, ClassFacts] = field(default_factory=dict)
    others: frozenset[str] = frozenset()
    roots: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    flows: tuple[tuple[str, FlowFacts], ...] = ()
    flag_exits: tuple[Exit, ...] = ()
    answers: Mapping[Request, FlowFacts] = field(default_factory=dict)
