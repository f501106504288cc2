"""What one file has to say to the others of its project: pass one of a sweep.

A summary holds no syntax tree: it is pickled, and reduced to an index by ``scan/project.py``.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from bncodemod.catalog.torch import FLAG, FLAG_POSITION
from bncodemod.scan.callees import foreign_bases
from bncodemod.scan.construction import base_name, intervenes, patched_class, skipped_classes
from bncodemod.scan.flag import exits_of_flag, fills_up_to_flag, sees_to_flag
from bncodemod.scan.flow import Demand, Flow, trace, trace_attribute, trace_variable
from bncodemod.scan.index import EMPTY_INDEX, Elsewhere, Exit, ExitKind, ProjectIndex
from bncodemod.scan.libraries import uses_of
from bncodemod.scan.mentions import Mention, Role, mentions, role
from bncodemod.scan.modules import INSTALLED
from bncodemod.scan.names import Names
from bncodemod.scan.need import Need
from bncodemod.scan.parameters import fields, parameters
from bncodemod.scan.scopes import Function
from bncodemod.source.errors import SourceError
from bncodemod.source.parse import parse
from bncodemod.source.text import SourceText
from bncodemod.source.tree import LazyTree

_WORD = re.compile(r"\w+")
# What stands in the names of torch's norms, classes and functions.
_NORM_PARTS = ("BatchNorm", "InstanceNorm", "_NormBase", "batch_norm", "instance_norm")


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


def summarise(
    data: bytes,
    path: str,
    requests: Iterable[Request] = (),
    index: ProjectIndex = EMPTY_INDEX,
) -> Summary | None:
    """The summary of a file, with answers to ``requests``; None where the file cannot be parsed.

    ``path`` only names the file in what is said about it.
    """
    try:
        source = SourceText.decode(data)
        names = Names(LazyTree(source, parse(source)), index)
        reader = _Reader(names, path)
        return reader.summary(tuple(requests))
    except (SourceError, RecursionError, MemoryError):
        return None


_NOT_FOUND = FlowFacts(found=False, escapes=True)


class _Reader:
    def __init__(self, names: Names, path: str) -> None:
        self.names = names
        self.tree = names.tree
        self.path = path

    def summary(self, requests: tuple[Request, ...]) -> Summary:
        table = _Table(self.tree)
        table.read(self.tree.module.body)
        self.tree.expand_imports()
        found = mentions(self.names)
        imports = tuple(self._imports())
        return Summary(
            imports=imports,
            exported=table.exported,
            assigned={name: tuple(dotted) for name, dotted in table.assigned.items()},
            classes=table.classes,
            # ``nn = None`` stands in for an import that failed: no use of it can succeed.
            others=frozenset(table.others | (table.blank - {item.local for item in imports})),
            roots=frozenset(self._roots()),
            words=frozenset(table.words if any(map(_needs_words, imports)) else ()),
            flows=tuple(self._flows(found)),
            flag_exits=exits_of_flag(self.names),
            answers={request: self._answer(request) for request in requests},
        )

    def _imports(self) -> Iterator[Import]:
        for alias in self.tree.of_type(ast.alias):
            statement = self.tree.parent(alias)
            exported = isinstance(self.names.scopes.scope_of(statement), ast.Module)
            if isinstance(statement, ast.ImportFrom):
                local = alias.asname or alias.name
                module = statement.module or ""
                yield Import(local, module, statement.level, alias.name, exported)
            else:
                yield Import(alias.asname or "", alias.name, 0, "", exported)
        for function in ("import_module", "__import__"):
            for node in self.tree.occurrences(function):
                call = self.tree.parents.get(node)
                if isinstance(call, ast.Call) and node is call.func and len(call.args) == 1:
                    name = call.args[0].value if isinstance(call.args[0], ast.Constant) else None
                    if isinstance(name, str):
                        # ``__import__("a.b")`` gives a, and so does ``import a.b``.
                        local = name if function == "import_module" else ""
                        yield Import(local, name, 0, "", exported=False)

    def _roots(self) -> Iterator[str]:
        """The names from which something spelled like a norm is read: ``layers.BatchNorm2d``."""
        for part in _NORM_PARTS:
            for word in self.tree.words_with(part):
                for node in self.tree.occurrences(word):
                    if isinstance(node, (ast.Name, ast.Attribute)):
                        yield from _root(node)
        for function in ("getattr", "vars"):
            for node in self.tree.occurrences(function):
                call = self.tree.parents.get(node)
                if isinstance(call, ast.Call) and node is call.func and call.args:
                    yield from _root(call.args[0])
        for node in self.tree.occurrences("__dict__"):
            yield from _root(node)

    def _flows(self, found: list[Mention]) -> Iterator[tuple[str, FlowFacts]]:
        for mention in found:
            node: ast.expr = mention.node
            if mention.role is Role.PARTIAL:
                node = self.tree.parent(node)  # type: ignore[assignment]
            elif mention.role is not Role.VALUE:
                continue
            if not mention.norm.abstract:
                facts = self._facts(trace(self.names, node))
                if facts.exits:
                    yield mention.norm.name, facts

    def _answer(self, request: Request) -> FlowFacts:
        if request.asked is Asked.PARAMETER:
            return self._of_parameter(request)
        if request.asked is Asked.ATTRIBUTE:
            return self._of_attribute(request)
        if request.asked is Asked.METHOD:
            return self._of_methods(request)
        if request.asked is Asked.OWN:
            bound = [
                binding.node
                for binding in self.names.scopes.bindings(self.tree.module, request.name)
                if isinstance(binding.node, ast.Name)
            ]
            return self._facts(trace_variable(self.names, *bound))
        uses = [node for node, _ in uses_of(self.names, [request.name])]
        if request.asked is Asked.RESULTS:
            calls = [self.tree.parents.get(node) for node in uses]
            uses = [
                call
                for node, call in zip(uses, calls, strict=True)
                if isinstance(call, ast.Call) and node is call.func
            ]
        facts = self._facts(trace(self.names, *uses), direct=uses)
        wrapped = any(role(self.names, node) is Role.PARTIAL for node in uses)
        filled = tuple(
            Elsewhere(Need.FLAG_BY_STAR, self.path, excerpt(self.tree.parent(node)))
            for node in uses
            if fills_up_to_flag(self.names, node)
        )
        return replace(facts, calls=facts.calls or wrapped, star_demands=filled)

    def _of_parameter(self, request: Request) -> FlowFacts:
        """What becomes of an argument that another file hands to a definition of this one."""
        definition = self._definition(request.name)
        if definition is None:
            return _NOT_FOUND
        self.tree.expand(definition)
        head, _, method = request.name.partition(".")
        func: ast.expr = ast.Name(head)
        if method:
            func = ast.Attribute(func, method)
        call = ast.Call(func, [ast.Constant(None)] * (request.position or 0), [])
        bound = parameters(definition, call, request.position, request.keyword)
        if bound:
            flow = trace_variable(self.names, *bound, key=request.keyword, entered=definition)
            return replace(self._facts(flow), sees_to_flag=sees_to_flag(self.names, definition))
        named = fields(definition, request.position, request.keyword)
        if named:
            return self._facts(trace_attribute(self.names, named[0]))
        if isinstance(definition, ast.ClassDef) and _init(definition) is None:
            return self._of_bases(definition, request)
        return _NOT_FOUND

    def _of_attribute(self, request: Request) -> FlowFacts:
        """What is read from an attribute that a class of another file gives to one of this."""
        owner, _, attribute = request.name.rpartition(".")
        definition = self._definition(owner)
        facts = self._facts(trace_attribute(self.names, attribute))
        if not isinstance(definition, ast.ClassDef):
            return facts
        bases = foreign_bases(self.names, definition)
        exits = tuple((Exit(ExitKind.ATTRIBUTE, f"{base}.{attribute}"), ()) for base in bases)
        return replace(facts, exits=(*facts.exits, *exits))

    def _of_methods(self, request: Request) -> FlowFacts:
        """What becomes of an argument that another file hands to a method of that name."""
        call = ast.Call(ast.Attribute(ast.Name("_"), request.name), [], [])
        call.args += [ast.Constant(None)] * (request.position or 0)
        bound = []
        for method in self.tree.occurrences(request.name):
            if isinstance(method, Function):
                if isinstance(self.tree.parents.get(method), ast.ClassDef):
                    self.tree.expand(method)
                    bound += parameters(method, call, request.position, request.keyword)
        if not bound:
            return _NOT_FOUND
        return self._facts(trace_variable(self.names, *bound, key=request.keyword))

    def _of_bases(self, definition: ast.ClassDef, request: Request) -> FlowFacts:
        exits = []
        for base in definition.bases:
            own = [m.definition for m in self.names.meanings(base) if m.definition is not None]
            name = self.names.qualified(base)
            if own and isinstance(base, ast.Name) and base.id != request.name:
                return self._of_parameter(
                    Request(request.asked, base.id, request.position, request.keyword)
                )
            if name and not name.startswith(("torch.", "builtins.", "typing.")):
                way = Exit(ExitKind.ARGUMENT, name, request.position, request.keyword)
                exits.append((way, ()))
        return FlowFacts(exits=tuple(exits)) if exits else _NOT_FOUND

    def _definition(self, name: str) -> ast.AST | None:
        """A function or class of the module, or a method; of an object, by the method's name."""
        head, _, method = name.partition(".")
        found = None
        for binding in self.names.scopes.bindings(self.tree.module, head):
            if isinstance(binding.node, (ast.ClassDef, *Function)):
                found = binding.node
        if not method:
            return found
        methods = [n for n in self.tree.occurrences(method) if isinstance(n, Function)]
        if isinstance(found, ast.ClassDef):
            methods = [n for n in methods if self.tree.parents.get(n) is found]
        return methods[0] if len(methods) == 1 else None

    def _facts(self, flow: Flow, direct: Sequence[ast.AST] = ()) -> FlowFacts:
        """A flow's facts. Where it says the flag, a call of one of ``direct`` is a site."""
        demands = [self._elsewhere(demand) for demand in flow.demands if not demand.guessed]
        demands += [
            Elsewhere(Need.FLAG_BY_KEYWORD, self.path, f"{ast.unparse(call.func)}(…)")
            for call in flow.calls
            if call.func not in direct
            and any(k.arg == FLAG and not _is_false(k.value) for k in call.keywords)
        ]
        demands += [
            Elsewhere(Need.FLAG_BY_POSITION, self.path, f"{ast.unparse(call.func)}(…)")
            for call in flow.calls
            if len(call.args) > FLAG_POSITION
        ]
        return FlowFacts(
            demands=tuple(dict.fromkeys(demands)),
            exits=tuple(
                (way, tuple(map(self._elsewhere, guess))) for way, guess in flow.exits.items()
            ),
            calls=bool(flow.calls),
            sure=all(
                self.names.index.norm(meaning.qualified) is not None
                for call in flow.calls
                if call.func not in direct  # what is asked for, and nothing else
                for meaning in self.names.meanings(call.func)
            ),
            unwrapped=flow.unwrapped,
            escapes=flow.lost,
            returned=flow.returned,
            star_demands=tuple(
                Elsewhere(Need.FLAG_BY_STAR, self.path, excerpt(call)) for call in flow.star_calls
            ),
        )

    def _elsewhere(self, demand: Demand) -> Elsewhere:
        if demand.elsewhere is not None:
            return demand.elsewhere
        return Elsewhere(demand.need, self.path, excerpt(demand.node))


def _root(node: ast.AST) -> Iterator[str]:
    """The name that a chain of attributes begins with."""
    while isinstance(node, ast.Attribute):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def _needs_words(item: Import) -> bool:
    """Whether an import may bring in a module or more: the file's words say what counts of it."""
    if item.name:
        return item.name == "*" or (item.level > 0 and not item.module)
    top = item.module.partition(".")[0]
    return top not in INSTALLED and top not in sys.stdlib_module_names


def excerpt(node: ast.AST) -> str:
    """What begins a piece of code: its rest may be rewritten, and a second run says the same."""
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    if isinstance(node, ast.Call):
        return f"{ast.unparse(node.func)}(…)"
    if isinstance(node, ast.Compare):
        return f"{ast.unparse(node.left)} …"
    return ast.unparse(node).partition("\n")[0]


class _Table:
    """The names that a module binds, read off its outer statements."""

    def __init__(self, tree: LazyTree) -> None:
        self.tree = tree
        self.words = Counter(_WORD.findall(tree.source.text))
        self.assigned: dict[str, list[str]] = {}
        self.classes: dict[str, ClassFacts] = {}
        self.others: set[str] = set()
        self.blank: set[str] = set()
        self.exported: tuple[str, ...] | None = None

    def read(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if isinstance(statement, ast.ClassDef):
                bases = tuple(ast.unparse(base_name(base)) for base in statement.bases)
                init = _init(statement)
                self.classes[statement.name] = ClassFacts(
                    bases,
                    _init_parameters(statement),
                    init is not None and init.args.vararg is not None,
                    intervenes(self.tree, statement),
                    self.words[statement.name] > 1,
                    tuple(map(ast.unparse, skipped_classes(self.tree, statement))),
                )
            elif isinstance(statement, Function):
                self.others.add(statement.name)
            elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
                self._assign(statement)
            elif isinstance(statement, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
                for name in ("body", "orelse", "finalbody"):
                    self.read(getattr(statement, name, []))
                for handler in getattr(statement, "handlers", []):
                    self.read(handler.body)

    def _assign(self, statement: ast.Assign | ast.AnnAssign) -> None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            patched = self.classes.get(patched_class(target))
            if patched is not None:
                self.classes[patched_class(target)] = replace(patched, intervenes=True)
            elif not isinstance(target, ast.Name):
                self.others.update(n.id for n in ast.walk(target) if isinstance(n, ast.Name))
            elif target.id == "__all__":
                self.exported = _strings(statement.value)
            elif isinstance(statement.value, (ast.Name, ast.Attribute)):
                self.assigned.setdefault(target.id, []).append(ast.unparse(statement.value))
            elif statement.value is not None:
                (self.blank if _is_none(statement.value) else self.others).add(target.id)


def _init_parameters(definition: ast.ClassDef) -> tuple[str, ...] | None:
    init = _init(definition)
    if init is None:
        return None
    return tuple(a.arg for a in (*init.args.posonlyargs, *init.args.args))[1:]


def _init(definition: ast.ClassDef) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    inits = (s for s in definition.body if isinstance(s, Function) and s.name == "__init__")
    return next(inits, None)


def _strings(node: ast.expr | None) -> tuple[str, ...] | None:
    """The strings of a literal list; None where it is computed."""
    if not isinstance(node, (ast.List, ast.Tuple)):
        return None
    found = [e.value for e in node.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)]
    return tuple(found) if len(found) == len(node.elts) else None


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False
