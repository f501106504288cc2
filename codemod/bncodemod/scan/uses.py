"""What one file does with what others define, and to what they hand it: loads, freezes, trainings.

It is told by names alone, whatever they are imported from: a name that is taken for another costs a
report, or a patch that is more careful than it need be.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bncodemod.scan.called_modules import CalledModules
from bncodemod.scan.callers import is_handed_around
from bncodemod.scan.callers_mode import last_mode
from bncodemod.scan.index import EMPTY_INDEX, ProjectIndex
from bncodemod.scan.last_mode import Mode, may_train
from bncodemod.scan.mentions import mentions
from bncodemod.scan.names import Names
from bncodemod.scan.norm_freezing import freezes_of
from bncodemod.scan.prefilter import may_hold_site, may_hold_transform
from bncodemod.scan.results import is_only_looked_at
from bncodemod.scan.scopes import BindingKind, Function
from bncodemod.scan.training import any_training, sign_of_training
from bncodemod.scan.transform_sites import owners
from bncodemod.scan.transforms import Transforms
from bncodemod.scan.weights import Transfer, holders, loads_of, saves_of
from bncodemod.source.calls import arguments_of
from bncodemod.source.dotted_names import root_of
from bncodemod.source.errors import SourceError
from bncodemod.source.parse import parse
from bncodemod.source.text import SourceText
from bncodemod.source.tree import LazyTree

_NAME = rb"[A-Za-z_\x80-\xff][\w\x80-\xff]*"
_DEFINITION = re.compile(rb"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+(%s)" % _NAME, re.MULTILINE)
_TOP = re.compile(
    rb"^(?:(?:async[ \t]+)?(?:def|class)[ \t]+)?(%s)[ \t]*(?:[:=(]|$)" % _NAME, re.MULTILINE
)
_WORD = re.compile(rb"[\w\x80-\xff]+")
# Words that are not called, defined or given as a keyword.
_VALUE = re.compile(
    rb"(?<!def )(?<!class )(?<![\w\x80-\xff])(%s)(?![\w\x80-\xff])(?!\s*(?:\(|=[^=]))" % _NAME
)
_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+\S+[ \t]+)?import[ \t]+(?:\([^)]*\)|[^\n]*)", re.MULTILINE
)
_RENAMED = re.compile(rb"\b(\w+)\s+as\s")
_TRANSFERS = (b"state_dict", b"load_from_checkpoint", b"torch.save", b"load_checkpoint")
_EVALUATES = (b".eval(", b".train(False", b".train(mode=False")
_OF_MODULES = frozenset({"__init__", "eval", "forward", "train"})
_TRAINS = (b"backward(", b".step(", b"loss", b"Loss", b".grad", b"autograd", b".train(")

Places = tuple[tuple[str, int], ...]
"""Names, each with the line where something is done with what it stands for."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What the bytes of a file tell.

    ``transfers`` says whether it may load or save weights, ``switches`` whether it may put a module
    into train mode. If it does so or may hold transforms, ``defined`` are its own functions and
    classes; ``words`` are all its words if it may hold transforms.
    """

    transfers: bool = False
    switches: bool = False
    defined: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Trainings:
    """What a file does with functions of other files, by their names.

    ``trained`` are called in a training, ``in_train_mode`` with a model in train mode. ``carried``
    pairs functions and classes of the file with what they call: who calls them runs that as well.
    """

    trained: Places = ()
    in_train_mode: Places = ()
    carried: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Transfers:
    """The names of what gets weights loaded, and of what is saved.

    ``unlinked`` is the line of a load that does not show what it loads into; 0 if there is none.
    ``exchanging`` are the functions that load the state of a model into another.
    """

    loaded: Places = ()
    saved: Places = ()
    unlinked: int = 0
    exchanging: Places = ()


def glance(data: bytes) -> Glance:
    """Look at the bytes of a file."""
    transforms, switches = may_hold_transform(data), b".train(" in data
    return Glance(
        transfers=any(word in data for word in _TRANSFERS),
        switches=switches,
        defined=defined_in(data) if transforms or switches else frozenset(),
        words=words_in(data) if transforms else frozenset(),
    )


def site_holder_names(data: bytes) -> frozenset[str]:
    """The names of a module if it may hold a site."""
    return _decoded(_TOP.findall(data)) if may_hold_site(data, EMPTY_INDEX) else frozenset()


def words_in(data: bytes) -> frozenset[str]:
    """The words of a file."""
    return _decoded(_WORD.findall(data))


def mentioned(data: bytes, wanted: frozenset[bytes]) -> frozenset[str]:
    """Which of the wanted words a file has. Of a whole project, all words would be too many."""
    return _decoded(wanted.intersection(_WORD.findall(data)))


def encoded(words: Iterable[str]) -> frozenset[bytes]:
    """Words as they are looked for in the bytes of files."""
    return frozenset(word.encode() for word in words)


def defined_in(data: bytes) -> frozenset[str]:
    """The functions and classes that a file defines."""
    return _decoded(_DEFINITION.findall(data))


def run_under_transforms(data: bytes, index: ProjectIndex) -> frozenset[str]:
    """The functions and classes of a file that run a module under a transform, or hold who does."""
    names = _names(data, index)
    if names is None:
        return frozenset()
    transforms = Transforms(names)
    modules = CalledModules(names, transforms)
    return frozenset(
        name
        for transformed in transforms.outermost()
        if modules.may_run_in(transformed)
        for node in (*transformed.runs, *transformed.escapes)
        for name in holders(names, names.tree.statement(node))
    )


def transforming_parameters(data: bytes) -> tuple[Places, Places]:
    """The functions of a file that run a parameter of theirs under a transform.

    First those of which the file does not show that it is a module, then those that put it into
    eval mode if it is one.
    """
    names = _names(data)
    if names is None:
        return (), ()
    transforms = Transforms(names)
    modules = CalledModules(names, transforms)
    found: tuple[set[tuple[str, int]], ...] = set(), set()
    for transformed in transforms.outermost():
        for node in modules.of(transformed.function).taken:
            for function in owners(names, node):
                found[modules.is_module(node)].add((function.name, function.lineno))
    return tuple(sorted(found[0])), tuple(sorted(found[1]))


def freezing_in(data: bytes) -> Places:
    """The functions of a file that put batch norms alone into eval mode, but for methods that every
    module has."""
    is_quiet = not any(word in data for word in _EVALUATES)
    names = None if is_quiet or not may_hold_site(data, EMPTY_INDEX) else _names(data)
    if names is None:
        return ()
    return _functions_around(names, (freeze.call for freeze in freezes_of(names, mentions(names))))


def transfers_of(data: bytes) -> Transfers:
    """What a file loads weights into, and what it saves, of what it does not define itself."""
    names = _names(data)
    if names is None:
        return Transfers()
    loads = loads_of(names)
    unlinked = (d.node.lineno for d in loads if not d.is_linked and not d.is_own_state)
    return Transfers(
        _places(names, loads),
        _places(names, saves_of(names)),
        next(unlinked, 0),
        _functions_around(names, (load.node for load in loads if load.is_own_state)),
    )


def _functions_around(names: Names, nodes: Iterable[ast.AST]) -> Places:
    """The functions that nodes stand in, but for methods that every module has."""
    found = {
        around.name: around.lineno
        for node in nodes
        for around in names.tree.ancestors(node)
        if isinstance(around, Function) and around.name not in _OF_MODULES
    }
    return tuple(sorted(found.items()))


def trainings_of(
    data: bytes, wanted: frozenset[bytes], modules: frozenset[bytes], by_import: bool
) -> Trainings:
    """Which of the ``wanted`` functions, of other files, a training of this one may call.

    One that is handed around, as a value of a dict or by another name, is not followed: it counts
    where the file trains at all. A file that trains nothing is looked into where it imports from
    one of the ``modules``; ``by_import`` leaves out the methods of objects.
    """
    trains = any(word in data for word in _TRAINS)
    if not trains and modules.isdisjoint(_imported_words(data)):
        return Trainings()
    spelled = mentioned(data, wanted)
    names = _names(data) if spelled else None
    if names is None:
        return Trainings()
    trained: list[tuple[str, int]] = []
    moded: list[tuple[str, int]] = []
    carried: list[tuple[str, str]] = []
    for name in sorted(spelled):
        calls = list(_imported_calls(names, name, by_import=by_import))
        line = _line_of_training(names, name, calls)
        trained += [(name, line)] * bool(line)
        # ``net.train(True)`` is no call of some other file's ``train``.
        imported = list(_imported_calls(names, name, by_import=True))
        moded += [(name, c.lineno) for c in imported if _is_given_in_train_mode(names, c)][:1]
        for call in [] if line else imported:
            if not is_only_looked_at(names, names.tree.statement(call)):
                carried += [(holder, name) for holder in holders(names, call)]
    return Trainings(tuple(trained), tuple(moded), tuple(dict.fromkeys(carried)))


def switchers_of(data: bytes, wanted: frozenset[str]) -> Places:
    """Which of the ``wanted`` names are functions of the file that put modules into train mode."""
    names = _names(data)
    if names is None:
        return ()
    functions = {
        around
        for node in names.tree.occurrences("train")
        if isinstance(node, ast.Attribute) and may_train(node, names.tree.parents.get(node))
        for around in names.tree.ancestors(node)
        if isinstance(around, Function) and around.name in wanted and _is_of_parameter(around, node)
    }
    return tuple(sorted((function.name, function.lineno) for function in functions))


def is_of_every_module(name: str) -> bool:
    """Whether it is the name of a method that every module has."""
    return name in _OF_MODULES


def handed_in(
    data: bytes, wanted: frozenset[bytes], modules: frozenset[bytes]
) -> tuple[frozenset[str], frozenset[str]]:
    """Which of the wanted names of other files stand in a file as values, and which modules."""
    if not any(name in data for name in wanted):
        return frozenset(), frozenset()
    code = _IMPORT.sub(lambda found: b" ".join(_RENAMED.findall(found[0])), data)
    values = wanted.intersection(_VALUE.findall(code))
    return _decoded(values) - defined_in(data), mentioned(data, modules)


def _names(data: bytes, index: ProjectIndex = EMPTY_INDEX) -> Names | None:
    try:
        source = SourceText.decode(data)
        return Names(LazyTree(source, parse(source)), index)
    except (SourceError, RecursionError, MemoryError):
        return None


def _places(names: Names, transfers: list[Transfer]) -> Places:
    found = {
        name: item.node.lineno
        for item in reversed(transfers)
        for name in item.makers
        if not _is_defined(names, name) or _is_in_class(names, item.node, name)
    }
    return tuple(sorted(found.items()))


def _is_in_class(names: Names, node: ast.AST, name: str) -> bool:
    """Whether a node is in a method of a class, which other files may derive theirs from."""
    around = names.tree.ancestors(node)
    return any(isinstance(above, ast.ClassDef) and above.name == name for above in around)


def _is_defined(names: Names, made: str) -> bool:
    bindings = names.scopes.bindings(names.tree.module, made.partition("(")[0])
    return any(binding.kind is BindingKind.DEFINITION for binding in bindings)


def _is_of_parameter(function: ast.AST, node: ast.Attribute) -> bool:
    """Whether it is a parameter of the function, or part of one, whose attribute is read."""
    root = root_of(node)
    parameters = {n.arg for n in ast.walk(function) if isinstance(n, ast.arg)}
    return isinstance(root, ast.Name) and root.id in parameters - {"self"}


def _imported_words(data: bytes) -> list[bytes]:
    return _WORD.findall(b" ".join(_IMPORT.findall(data)))


def _imported_calls(names: Names, name: str, *, by_import: bool) -> Iterator[ast.Call]:
    """The calls of what is imported by a name; without ``by_import``, of any method as well."""
    for node in names.tree.occurrences(name):
        call = names.tree.call_to(node)
        if call is not None and _is_imported(names, _root(node) if by_import else node):
            yield call


def _root(node: ast.AST) -> ast.AST:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def _is_given_in_train_mode(names: Names, call: ast.Call) -> bool:
    """Whether something is handed to a call that the code above puts into train mode."""
    statement = names.tree.statement(call)
    return any(
        last_mode(names, ast.unparse(value), statement).mode is Mode.TRAIN
        for value in arguments_of(call)
        if isinstance(value, (ast.Name, ast.Attribute))
    )


def _line_of_training(names: Names, name: str, calls: list[ast.Call]) -> int:
    """The line of a training that may call what is imported by a name; 0 if none does."""
    for call in calls:
        if sign_of_training(names, names.tree.statement(call), []):
            return call.lineno
    names.tree.expand_imports()
    taken: list[ast.AST] = [a for a in names.tree.of_type(ast.alias) if a.name == name and a.asname]
    taken += [node for node in names.tree.occurrences(name) if _is_value(names, node)]
    return taken[0].lineno if taken and any_training(names) else 0  # type: ignore[attr-defined]


def _is_value(names: Names, node: ast.AST) -> bool:
    """Whether a node hands around what is imported, or what stands in an imported module."""
    root = node.value if isinstance(node, ast.Attribute) else node
    return (
        isinstance(root, ast.Name)
        and is_handed_around(names.tree, node)
        and _is_imported(names, root)
    )


def _is_imported(names: Names, node: ast.AST) -> bool:
    """Whether a name may be that of another file: imported, or a method of some object."""
    if not isinstance(node, ast.Name):
        return isinstance(node, ast.Attribute)
    bindings = names.scopes.reaching(node)
    return not bindings or any(binding.kind is BindingKind.IMPORT for binding in bindings)


def _decoded(words: Iterable[bytes]) -> frozenset[str]:
    found = (word.decode(errors="replace") for word in {*words})
    return frozenset(word for word in found if not word.startswith("__"))
