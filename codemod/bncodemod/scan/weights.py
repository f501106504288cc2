"""Which calls load weights into models or take them out, and what builds these models."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from bncodemod.scan.callers import Definition, calls_of
from bncodemod.scan.libraries import argument
from bncodemod.scan.library_loads import library_loads
from bncodemod.scan.model_places import CHAIN, WRAPPERS
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import Binding, BindingKind, Function

LOADING_WORDS = ("load", "restore", "resume")
LOADING = re.compile(r"(?:^|_)(?:load|restore|resume)(?:_|$)", re.IGNORECASE)
_METHOD = "load_state_dict"
# What keeps a state without norms: optimizers, schedulers, scalers, samplers, losses, averages.
_NO_MODULE = re.compile(
    r"optim|\bopt(?:_|\b)|_opt\b|sched|scaler|amp\b|lr_|sampler|loader|criterion|loss|metric"
    r"|callback|stopp|tracker|state\b|history|meter|tokenizer|logger|trainer",
    re.IGNORECASE,
)
# What holds a module, whatever it is reached by: ``trainer.model``.
_MODULE = re.compile(r"(?:^|[._])(?:module|model|net|network|backbone|encoder)$")
_CONTAINERS = ("torch.nn.ModuleList", "torch.nn.ModuleDict", "torch.nn.Sequential")
_COPIES = frozenset({"copy.deepcopy", "copy.copy", "torch.compile", "torch.jit.script"})
_NUMBERS = frozenset({"abs", "float", "int", "len", "max", "min", "range", "round", "sum"})
# Methods of a dict that give what it holds.
_VALUES = ("items", "values")
_ELEMENTS = frozenset({"zip", "enumerate", "reversed", "list", "tuple", "iter"})


@dataclass(slots=True, eq=False)
class Transfer:
    """A call that loads weights into models, or saves them: ``calls`` give the models.

    ``makers`` are the names of what is called there, and of classes of which an instance does so
    itself; ``entries`` are the calls that hand a model to the function around the transfer.
    ``is_linked`` says whether all of them are seen, ``holds_unknown`` whether what is called is
    given a model of which that is not so, ``is_strict`` whether a load refuses other keys than
    those of the model, ``is_own_state`` whether it takes another model's state.
    ``is_by_hand`` says of a load that it is no call of a method that loads, ``is_by_library`` that
    a library calls that.
    """

    node: ast.expr
    calls: set[ast.Call] = field(default_factory=set)
    makers: set[str] = field(default_factory=set)
    entries: set[ast.Call] = field(default_factory=set)
    is_linked: bool = True
    holds_unknown: bool = False
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
        for call in [names.tree.parents.get(node)]
        if isinstance(call, ast.Call) and call.func is node
        for transfer in [made_of(names, call, word)]
        if transfer is not None
    ]
    return sorted(found, key=_position)


def _position(transfer: Transfer) -> tuple[int, int]:
    return transfer.node.lineno, transfer.node.col_offset


def _by_hand(names: Names) -> Iterator[Transfer]:
    """Loads that no method does: of a method handed on, and of states that are written to."""
    for node in names.tree.occurrences(_METHOD):
        above = names.tree.parents.get(node)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            if not (isinstance(above, ast.Call) and above.func is node):
                if not _NO_MODULE.search(ast.unparse(node.value)):
                    yield _made_by_hand(names, node, node.value, is_linked=False)
    for node in names.tree.occurrences("state_dict"):
        call = names.tree.parents.get(node)
        if isinstance(call, ast.Call) and call.func is node and isinstance(node, ast.Attribute):
            if may_be_of_module(call) and _is_written_to(names, call):
                yield _made_by_hand(names, call, node.value)
    for node in names.tree.occurrences("functional_call"):
        call = names.tree.parents.get(node)
        if isinstance(call, ast.Call) and call.func is node and len(call.args) > 1:
            if _is_read_from_file(names, call.args[1]):
                made = _made_by_hand(names, call, call.args[0])
                strict = argument(call, "strict", None, 0)
                made.is_strict = isinstance(strict, ast.expr) and ast.unparse(strict) != "False"
                yield made


def _by_libraries(names: Names) -> Iterator[Transfer]:
    for found in library_loads(names):
        load = Transfer(found.call, is_strict=found.is_strict, is_by_library=True)
        function = found.call.func
        if isinstance(function, ast.Attribute) and function.attr == "load_from_checkpoint":
            load.makers.add(_last(function.value))
            own = names.tree.occurrences(function.attr)
            load.is_by_library = not any(isinstance(node, Function) for node in own)
        else:
            _Seeker(names, load).seek(found.model)
        yield load


def _made_by_hand(
    names: Names, node: ast.expr, model: ast.expr, *, is_linked: bool = True
) -> Transfer:
    load = Transfer(node, is_by_hand=True)
    _Seeker(names, load).seek(model)
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
    return bool(_MODULE.search(owner)) or not _NO_MODULE.search(owner)


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
            return not _is_changed(names, loaded)
    return _is_state_of_module(loaded)


def _is_changed(names: Names, state: ast.Name) -> bool:
    """Whether a state dict gets other values: by ``update``, or one by one."""
    for node in names.tree.occurrences(state.id):
        above = names.tree.parents.get(node)
        if isinstance(above, ast.Attribute) and above.attr == "update":
            return True
        if isinstance(above, ast.Subscript) and isinstance(above.ctx, ast.Store):
            return True
    return False


def gives_option(names: Names, call: ast.Call) -> bool:
    """Whether a call gives a number or one of the keywords that a function takes, no model."""
    function = call.func
    if isinstance(function, ast.Name):
        return function.id in _NUMBERS
    if not isinstance(function, ast.Attribute) or function.attr not in ("get", "pop"):
        return False
    owner, key = function.value, call.args[0] if call.args else None
    if not isinstance(owner, ast.Name) or _MODULE.search(str(getattr(key, "value", ""))):
        return False
    bindings = names.scopes.reaching(owner) or ()
    return bool(bindings) and all(
        isinstance(arguments := names.tree.parents.get(binding.node), ast.arguments)
        and arguments.kwarg is binding.node
        for binding in bindings
    )


def maker(call: ast.Call) -> str:
    """What is called, by its last name; a literal that comes first says which model it is."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    first = call.args[0] if call.args else None
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return f"{name}({first.value!r})"
    return str(name)


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
    load = Transfer(call)
    seeker = _Seeker(names, load)
    if isinstance(function, ast.Attribute) and word == _METHOD:
        if not may_be_of_module(call):
            return None
        load.is_strict, load.is_own_state = is_strict(call), takes_own_state(names, call)
        seeker.seek(function.value)
        return load
    return _handed(call, seeker)


def _save(names: Names, call: ast.Call, word: str) -> Transfer | None:
    save = Transfer(call)
    seeker = _Seeker(names, save)
    if word != "state_dict":
        return _handed(call, seeker)
    if not isinstance(call.func, ast.Attribute) or not may_be_of_module(call):
        return None
    seeker.seek(call.func.value)
    return save


def _handed(call: ast.Call, seeker: _Seeker) -> Transfer | None:
    """What is handed to a function that loads or saves, by its name."""
    for given in (*call.args, *(keyword.value for keyword in call.keywords)):
        if isinstance(given, (ast.Name, ast.Attribute, ast.Call)):
            seeker.seek(given)
    found = seeker.transfer
    found.is_linked = True  # what else it is given is no model, as far as is known
    return found if found.calls or found.makers else None


class _Seeker:
    """Follows an expression back to the calls that give its value."""

    def __init__(self, names: Names, transfer: Transfer) -> None:
        self.names = names
        self.tree = names.tree
        self.transfer = transfer
        self._seen: set[ast.AST] = set()

    def seek(self, node: ast.AST | None) -> None:
        if node in self._seen:
            return
        if node is not None:
            self._seen.add(node)
        if isinstance(node, ast.Call):
            self._call(node)
        elif isinstance(node, ast.Name):
            self._name(node)
        elif isinstance(node, ast.Attribute):
            self._attribute(node)
        elif isinstance(node, ast.Subscript):
            self._added_to(node.value)
            self.seek(node.value)
        elif isinstance(node, (ast.Starred, ast.NamedExpr)):
            self.seek(node.value)
        elif isinstance(node, (ast.List, ast.Tuple)):
            self.transfer.is_linked &= bool(node.elts)  # what is added to it later is not seen
            self._all(node.elts)
        elif isinstance(node, ast.Dict):
            self.transfer.is_linked &= bool(node.values)
            self._all(node.values)
        elif isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            self.seek(node.elt)
        elif isinstance(node, ast.DictComp):
            self.seek(node.value)
        elif isinstance(node, ast.IfExp):
            self._all([node.body, node.orelse])
        elif isinstance(node, ast.BoolOp):
            self._all(node.values)
        else:
            self.transfer.is_linked = False

    def _all(self, nodes: list[ast.expr]) -> None:
        for node in nodes:
            self.seek(node)

    def _call(self, call: ast.Call) -> None:
        function = call.func
        if isinstance(function, ast.Attribute) and function.attr in CHAIN:
            self.seek(function.value)
        elif isinstance(function, ast.Attribute) and function.attr in _VALUES and not call.args:
            self._added_to(function.value)
            self.seek(function.value)
        elif call.args and (
            self.names.qualified(function) in (*WRAPPERS, *_COPIES)
            or (isinstance(function, ast.Name) and function.id in _ELEMENTS)
        ):
            self._all(call.args)
        else:
            self.transfer.calls.add(call)
            self.transfer.makers.add(maker(call))
            self.transfer.is_linked &= self._is_builder(function)
            self._holds(call)

    def _is_builder(self, function: ast.expr) -> bool:
        """Whether what is called is known by its name: imported, or a definition of the file."""
        callee = self.names.qualified(function)
        if callee in _CONTAINERS or callee.startswith("builtins."):
            return False
        if callee or any(meaning.definition for meaning in self.names.meanings(function)):
            return True
        name = _last(function)
        return bool(name) and any(
            isinstance(node, (ast.ClassDef, *Function)) for node in self.tree.occurrences(name)
        )

    def _holds(self, call: ast.Call) -> None:
        """What a call is given may be part of what it gives: ``ModelEma(model)``."""
        is_linked = self.transfer.is_linked
        for given in (*call.args, *(keyword.value for keyword in call.keywords)):
            if isinstance(given, (ast.Name, ast.Attribute, ast.Call)):
                self.transfer.is_linked = True
                self.seek(given)
                if not self.transfer.is_linked and _MODULE.search(ast.unparse(given)):
                    self.transfer.holds_unknown = True
        self.transfer.is_linked = is_linked

    def _added_to(self, container: ast.expr) -> None:
        """What is put into a container one by one: ``models[name] = Net()``, ``append(Net())``."""
        for node in self.tree.occurrences(_last(container)):
            if not self._is_same(node, container):
                continue
            above = self.tree.parents.get(node)
            outer = self.tree.parents.get(above) if above is not None else None
            if isinstance(above, ast.Subscript) and isinstance(above.ctx, ast.Store):
                if above.value is node:
                    self.seek(getattr(outer, "value", None))
            elif isinstance(above, ast.Attribute) and above.attr == "append":
                if isinstance(outer, ast.Call):
                    self._all(outer.args)

    def _is_same(self, node: ast.AST, container: ast.expr) -> bool:
        """Whether two expressions name one variable, or an attribute that is written alike."""
        if not isinstance(node, ast.expr) or ast.unparse(node) != ast.unparse(container):
            return False
        if not isinstance(node, ast.Name):
            return True
        scopes = self.names.scopes
        found = [scopes.binding_scope(node.id, scopes.scope_of(n)) for n in (node, container)]
        return found[0] is found[1]

    def _name(self, node: ast.Name) -> None:
        bindings = self.names.scopes.reaching(node)
        if not bindings:
            self.transfer.is_linked = False
        for binding in bindings or ():
            if binding.kind is BindingKind.VALUE:
                self.seek(binding.value)
            elif binding.kind is BindingKind.ELEMENT:
                source = self._source(binding)
                if isinstance(source, (ast.Name, ast.Attribute)):
                    self._added_to(source)
                self.seek(source)
            elif binding.kind is BindingKind.PARAMETER:
                self._parameter(binding)
            elif binding.kind is not BindingKind.OTHER:
                self.transfer.makers.add(node.id)  # a class or module by its name
            else:
                self.transfer.is_linked = False

    def _source(self, binding: Binding) -> ast.AST | None:
        """What holds the elements of a loop, of the several that ``zip`` goes through."""
        value, target = binding.value, self.tree.parents.get(binding.node)
        if isinstance(value, ast.Call) and isinstance(target, ast.Tuple):
            if getattr(value.func, "id", "") == "zip" and len(value.args) == len(target.elts):
                return value.args[target.elts.index(binding.node)]  # type: ignore[arg-type]
        return value

    def _parameter(self, binding: Binding) -> None:
        """What the calls of a function hand to one of its parameters."""
        function = self.tree.parent(self.tree.parent(binding.node))
        name: str = binding.node.arg  # type: ignore[attr-defined]
        owner = self.tree.parents.get(function)
        if not isinstance(function, Function):
            self.transfer.is_linked = False
            return
        places = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
        if isinstance(owner, ast.ClassDef) and places[:1] == [name]:
            self.transfer.makers.add(owner.name)  # ``self``
            return
        skip = 1 if isinstance(owner, ast.ClassDef) else 0
        position = places.index(name) - skip if name in places else None
        given = {c: argument(c, name, position) for c in calls_of(self.tree, function)}
        handed = {call: value for call, value in given.items() if value is not None}
        if not handed:
            self.transfer.is_linked = False
        self.transfer.entries.update(handed)
        for value in handed.values():
            self.seek(value)

    def _attribute(self, node: ast.Attribute) -> None:
        """``self.net``, ``model.encoder``: what is assigned to it, else what its owner is."""
        values = list(self._assigned(node))
        for value in values:
            self.seek(value)
        if not values:
            self.transfer.is_linked &= not self._is_set_from_outside(node)
            self.transfer.is_linked &= not self._is_first_parameter(node.value)
            self.seek(node.value)

    def _is_set_from_outside(self, node: ast.Attribute) -> bool:
        """Whether some statement of the file sets such an attribute of another object."""
        return isinstance(node.value, ast.Name) and any(
            isinstance(other, ast.Attribute)
            and isinstance(other.ctx, ast.Store)
            and ast.unparse(other) == ast.unparse(node)
            for other in self.tree.occurrences(node.attr)
        )

    def _is_first_parameter(self, node: ast.expr) -> bool:
        """Whether an expression is the ``self`` of a method: what no statement of its class sets
        comes from a base, or by ``setattr``."""
        bindings = self.names.scopes.reaching(node) if isinstance(node, ast.Name) else None
        for binding in bindings or ():
            method = self.tree.parents.get(self.tree.parents.get(binding.node, binding.node))
            if binding.kind is BindingKind.PARAMETER and isinstance(method, Function):
                is_method = isinstance(self.tree.parents.get(method), ast.ClassDef)
                return is_method and method.args.args[:1] == [binding.node]
        return False

    def _assigned(self, node: ast.Attribute) -> Iterator[ast.expr]:
        owner = next((a for a in self.tree.ancestors(node) if isinstance(a, ast.ClassDef)), None)
        if owner is None or not isinstance(node.value, ast.Name):
            return
        for other in self.tree.occurrences(node.attr, owner):
            statement = self.tree.parents.get(other)
            if isinstance(other, ast.Attribute) and isinstance(other.ctx, ast.Store):
                if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value:
                    yield statement.value


def _is_state_of_module(value: ast.AST | None) -> bool:
    """Whether an expression takes ``other.state_dict()``, copied or not."""
    return value is not None and any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "state_dict"
        for node in ast.walk(value)
    )


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else str(getattr(node, "id", ""))
