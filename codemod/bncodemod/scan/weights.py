"""Which calls load weights into models or take them out, and what builds these models."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from bncodemod.scan.callers import Definition, calls_of
from bncodemod.scan.libraries import argument
from bncodemod.scan.library_loads import library_loads
from bncodemod.scan.model_sources import MODULE, Seeker, Sources, maker
from bncodemod.scan.names import Names
from bncodemod.scan.own_state import is_changed, own_states
from bncodemod.scan.scopes import Function
from bncodemod.source.calls import arguments_of
from bncodemod.source.dotted_names import last_name

LOADING_WORDS = ("load", "restore", "resume")
LOADING = re.compile(r"(?:^|_)(?:load|restore|resume)(?:_|$)", re.IGNORECASE)
_METHOD = "load_state_dict"
# What keeps a state without norms: optimizers, schedulers, scalers, samplers, losses, averages.
_NO_MODULE = re.compile(
    r"optim|\bopt(?:_|\b)|_opt\b|sched|scaler|amp\b|lr_|sampler|loader|criterion|loss|metric"
    r"|callback|stopp|tracker|state\b|history|meter|tokenizer|logger|trainer",
    re.IGNORECASE,
)
_NUMBERS = frozenset({"abs", "float", "int", "len", "max", "min", "range", "round", "sum"})


@dataclass(slots=True, eq=False, kw_only=True)
class Transfer(Sources):
    """A call that loads weights into models, or saves them.

    ``is_strict`` says whether a load refuses other keys than those of the model, ``is_own_state``
    whether it takes another model's state, which the calls ``givers`` give. ``is_by_hand`` says
    that it is no call of a method that loads, ``is_by_library`` that a library calls that.
    """

    node: ast.expr
    givers: set[ast.Call] = field(default_factory=set)
    is_strict: bool = True
    is_own_state: bool = False
    is_by_hand: bool = False
    is_by_library: bool = False


def loads_of(names: Names) -> list[Transfer]:
    """The loads of a file, in the order of the source."""
    words = {word for part in LOADING_WORDS for word in names.tree.words_with(part)}
    by_libraries = list(_by_libraries(names))
    known = {load.node for load in by_libraries}
    called = [
        load
        for load in _transfers(names, filter(LOADING.search, words), _load)
        if load.node not in known
    ]
    return sorted([*called, *_by_hand(names), *by_libraries], key=_position)


def saves_of(names: Names) -> list[Transfer]:
    """The calls of a file that take the state of models or save it, in the order of the source."""
    return _transfers(names, {"state_dict", *names.tree.words_with("save")}, _save)


def _transfers(
    names: Names,
    words: Iterable[str],
    made_of: Callable[[Names, ast.Call, str], Transfer | None],
) -> list[Transfer]:
    found = [
        transfer
        for word in sorted(words)
        for node in names.tree.occurrences(word)
        if (call := names.tree.call_to(node)) is not None
        if (transfer := made_of(names, call, word)) is not None
    ]
    return sorted(found, key=_position)


def _position(transfer: Transfer) -> tuple[int, int]:
    return transfer.node.lineno, transfer.node.col_offset


def _by_hand(names: Names) -> Iterator[Transfer]:
    """Loads that no method does: of a method handed on, and of states that are written to."""
    for node in names.tree.occurrences(_METHOD):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            is_called = names.tree.call_to(node) is not None
            if not is_called and not _NO_MODULE.search(ast.unparse(node.value)):
                yield _made_by_hand(names, node, node.value, is_linked=False)
    for node in names.tree.occurrences("state_dict"):
        call = names.tree.call_to(node)
        if call is not None and isinstance(node, ast.Attribute):
            if may_be_of_module(call) and _is_written_to(names, call):
                yield _made_by_hand(names, call, node.value)
    for node in names.tree.occurrences("functional_call"):
        call = names.tree.call_to(node)
        if call is not None and len(call.args) > 1:
            if _is_read_from_file(names, call.args[1]):
                made = _made_by_hand(names, call, call.args[0])
                strict = argument(call, "strict", None, 0)
                made.is_strict = isinstance(strict, ast.expr) and ast.unparse(strict) != "False"
                yield made


def _by_libraries(names: Names) -> Iterator[Transfer]:
    for found in library_loads(names):
        load = Transfer(node=found.call, is_strict=found.is_strict, is_by_library=True)
        function = found.call.func
        if isinstance(function, ast.Attribute) and function.attr == "load_from_checkpoint":
            load.makers.add(last_name(function.value))
            own = names.tree.occurrences(function.attr)
            load.is_by_library = not any(isinstance(node, Function) for node in own)
        else:
            Seeker(names, load).seek(found.model)
        yield load


def _made_by_hand(
    names: Names, node: ast.expr, model: ast.expr, *, is_linked: bool = True
) -> Transfer:
    load = Transfer(node=node, is_by_hand=True)
    Seeker(names, load).seek(model)
    load.is_linked &= is_linked
    return load


def _is_written_to(names: Names, call: ast.Call) -> bool:
    """Whether what ``state_dict()`` gives is written to, tensor by tensor, from a file's content.

    An average of weights takes the states of two models, and reads no file.
    """
    scope = names.scopes.scope_of(call)
    calls = [n.func for n in names.tree.walk_below(scope) if isinstance(n, ast.Call)]
    states = {
        ast.unparse(f) for f in calls if isinstance(f, ast.Attribute) and f.attr == "state_dict"
    }
    copies = any(isinstance(f, ast.Attribute) and f.attr in ("copy_", "set_") for f in calls)
    return copies and len(states) == 1


def _is_read_from_file(names: Names, node: ast.expr) -> bool:
    values: list[ast.AST | None] = [node]
    if isinstance(node, ast.Name):
        values = [binding.value for binding in names.scopes.reaching(node) or ()]
    return any(
        isinstance(inner, ast.Call) and LOADING.search(maker(inner).partition("(")[0])
        for value in values
        if value is not None
        for inner in ast.walk(value)
    )


def may_be_of_module(call: ast.Call) -> bool:
    """Whether a method of a module may be called, by the name of what it is called on."""
    function = call.func
    if not isinstance(function, ast.Attribute):
        return False
    owner = ast.unparse(function.value)
    return bool(MODULE.search(owner)) or not _NO_MODULE.search(owner)


def is_strict(call: ast.Call) -> bool:
    """Whether a load refuses unexpected keys; one that is told by a variable may."""
    strict = argument(call, "strict", 1, 0)
    return not (isinstance(strict, ast.Constant) and strict.value is False)


def takes_own_state(names: Names, call: ast.Call) -> bool:
    """Whether what is loaded is the state of another module of the same program."""
    loaded = call.args[0] if call.args else None
    if isinstance(loaded, ast.Name):
        bindings = names.scopes.reaching(loaded) or []
        if bindings and all(_is_state_of_module(b.value) for b in bindings):
            return not is_changed(names, loaded)
    return _is_state_of_module(loaded) or bool(own_states(names, call))


def gives_option(names: Names, call: ast.Call) -> bool:
    """Whether a call gives a number or one of the keywords that a function takes, no model."""
    function = call.func
    if isinstance(function, ast.Name):
        return function.id in _NUMBERS
    if not isinstance(function, ast.Attribute) or function.attr not in ("get", "pop"):
        return False
    owner, key = function.value, call.args[0] if call.args else None
    if not isinstance(owner, ast.Name) or MODULE.search(str(getattr(key, "value", ""))):
        return False
    bindings = names.scopes.reaching(owner) or ()
    return bool(bindings) and all(
        isinstance(arguments := names.tree.parents.get(binding.node), ast.arguments)
        and arguments.kwarg is binding.node
        for binding in bindings
    )


def holders(names: Names, node: ast.AST) -> dict[str, Definition]:
    """The functions and classes of the file whose results may hold what a node builds, by name."""
    found: dict[str, Definition] = {}
    todo: list[ast.AST] = [node, *_kept_outside_functions(names, node)]
    while todo:
        for above in names.tree.ancestors(todo.pop()):
            if not isinstance(above, (ast.ClassDef, *Function)) or above.name in found:
                continue
            if above.name.startswith("__"):
                continue  # its class stands for it
            found[above.name] = above
            todo += calls_of(names.tree, above)
    return found


def _kept_outside_functions(names: Names, node: ast.AST) -> Iterator[ast.AST]:
    """The reads of a variable of the module that keeps a node."""
    if any(isinstance(above, (ast.ClassDef, *Function)) for above in names.tree.ancestors(node)):
        return
    statement = names.tree.statement(node)
    if isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    yield from names.tree.occurrences(part.id)


def _load(names: Names, call: ast.Call, word: str) -> Transfer | None:
    function = call.func
    load = Transfer(node=call)
    seeker = Seeker(names, load)
    if isinstance(function, ast.Attribute) and word == _METHOD:
        if not may_be_of_module(call):
            return None
        load.is_strict, load.is_own_state = is_strict(call), takes_own_state(names, call)
        seeker.seek(function.value)
        if load.is_own_state:
            load.givers = _givers(names, call)
        return load
    return _handed(call, seeker, load)


def _givers(names: Names, load: ast.Call) -> set[ast.Call]:
    """The calls that build the models whose state a load takes."""
    given = Sources()
    for owner in owners_of_state(names, load):
        Seeker(names, given).seek(owner)
    return given.calls


def owners_of_state(names: Names, load: ast.Call) -> Iterator[ast.expr]:
    """The models of which a load takes the state."""
    found = own_states(names, load)
    if found:
        yield from (call.func.value for call in found if isinstance(call.func, ast.Attribute))
        return
    values: list[ast.AST | None] = list(load.args[:1])
    if load.args and isinstance(load.args[0], ast.Name):
        values += [b.value for b in names.scopes.reaching(load.args[0]) or ()]
    for value in values:
        for node in ast.walk(value) if value is not None else ():
            if isinstance(node, ast.Attribute) and node.attr == "state_dict":
                yield node.value


def _save(names: Names, call: ast.Call, word: str) -> Transfer | None:
    save = Transfer(node=call)
    seeker = Seeker(names, save)
    if word != "state_dict":
        return _handed(call, seeker, save)
    if not isinstance(call.func, ast.Attribute) or not may_be_of_module(call):
        return None
    seeker.seek(call.func.value)
    return save


def _handed(call: ast.Call, seeker: Seeker, found: Transfer) -> Transfer | None:
    """What is handed to a function that loads or saves, by its name."""
    for given in arguments_of(call):
        if isinstance(given, (ast.Name, ast.Attribute, ast.Call)):
            seeker.seek(given)
    found.is_linked = True  # what else it is given is no model, as far as is known
    return found if found.calls or found.makers else None


def _is_state_of_module(value: ast.AST | None) -> bool:
    """Whether an expression takes ``other.state_dict()``, copied or not."""
    return value is not None and any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "state_dict"
        for node in ast.walk(value)
    )
