"""Which calls load weights into models or take them out, and what builds these models."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from bncodemod.scan.callers import Definition, calls_of
from bncodemod.scan.libraries import argument
from bncodemod.scan.model_places import CHAIN, WRAPPERS
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import Binding, BindingKind, Function

LOADING_WORDS = ("load", "restore", "resume")
LOADING = re.compile(r"(?:^|_)(?:load|restore|resume)(?:_|$)", re.IGNORECASE)
_METHOD = "load_state_dict"
# What keeps a state without norms: optimizers, schedulers, scalers, samplers, losses, averages.
_NO_MODULE = re.compile(
    r"optim|\bopt(?:_|\b)|_opt\b|sched|scaler|amp\b|lr_|sampler|loader|criterion|loss|metric"
    r"|callback|stopp|tracker|state\b|history|meter|tokenizer|logger|trainer|ema",
    re.IGNORECASE,
)
_COPIES = frozenset({"copy.deepcopy", "copy.copy", "torch.compile", "torch.jit.script"})
_ELEMENTS = frozenset({"zip", "enumerate", "reversed", "list", "tuple", "iter"})


@dataclass(slots=True, eq=False)
class Transfer:
    """A call that loads weights into models, or saves them: ``calls`` give the models.

    ``makers`` are the names of what is called there, and of classes of which an instance does so
    itself; ``entries`` are the calls that hand a model to the function around the transfer.
    ``is_linked`` says whether all of them are seen, ``is_strict`` whether a load refuses
    other keys than those of the model, ``is_own_state`` whether it takes another model's state.
    """

    node: ast.Call
    calls: set[ast.Call] = field(default_factory=set)
    makers: set[str] = field(default_factory=set)
    entries: set[ast.Call] = field(default_factory=set)
    is_linked: bool = True
    is_strict: bool = True
    is_own_state: bool = False


def loads_of(names: Names) -> list[Transfer]:
    """The loads of a file, in the order of the source."""
    words = {word for part in LOADING_WORDS for word in names.tree.words_with(part)}
    return _transfers(names, filter(LOADING.search, words), _load)


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
    return sorted(found, key=lambda transfer: (transfer.node.lineno, transfer.node.col_offset))


def may_be_of_module(call: ast.Call) -> bool:
    """Whether a method of a module may be called, by the name of what it is called on."""
    function = call.func
    return isinstance(function, ast.Attribute) and not _NO_MODULE.search(
        ast.unparse(function.value)
    )


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
            return True
    return _is_state_of_module(loaded)


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
    todo: list[ast.AST] = [node]
    while todo:
        for above in names.tree.ancestors(todo.pop()):
            if not isinstance(above, (ast.ClassDef, *Function)) or above.name in found:
                continue
            if above.name.startswith("__"):
                continue  # its class stands for it
            found[above.name] = above
            todo += calls_of(names.tree, above)
    return found


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
    if isinstance(function, ast.Attribute) and word == "load_from_checkpoint":
        load.makers.add(_last(function.value))
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
        if isinstance(given, (ast.Name, ast.Attribute)):
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
        elif isinstance(node, (ast.Subscript, ast.Starred, ast.NamedExpr)):
            self.seek(node.value)
        elif isinstance(node, (ast.List, ast.Tuple)):
            self._all(node.elts)
        elif isinstance(node, ast.Dict):
            self._all(node.values)
        elif isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            self.seek(node.elt)
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
        elif call.args and (
            self.names.qualified(function) in (*WRAPPERS, *_COPIES)
            or (isinstance(function, ast.Name) and function.id in _ELEMENTS)
        ):
            self._all(call.args)
        else:
            self.transfer.calls.add(call)
            self.transfer.makers.add(maker(call))

    def _name(self, node: ast.Name) -> None:
        bindings = self.names.scopes.reaching(node)
        if not bindings:
            self.transfer.is_linked = False
        for binding in bindings or ():
            if binding.kind is BindingKind.VALUE:
                self.seek(binding.value)
            elif binding.kind is BindingKind.ELEMENT:
                self.seek(self._source(binding))
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
            self.seek(node.value)

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
