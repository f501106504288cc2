"""What one file answers when others ask what it does with a value of theirs."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from bncodemod.catalog.torch import FLAG, FLAG_POSITION
from bncodemod.scan.callees import foreign_bases
from bncodemod.scan.demand import Demand, Flow
from bncodemod.scan.excerpt import excerpt
from bncodemod.scan.flag import fills_up_to_flag, sees_to_flag
from bncodemod.scan.flow import trace, trace_attribute, trace_variable
from bncodemod.scan.index import Elsewhere, Exit, ExitKind
from bncodemod.scan.libraries import uses_of
from bncodemod.scan.literals import is_false
from bncodemod.scan.mentions import Role, role
from bncodemod.scan.names import Names
from bncodemod.scan.need import Need
from bncodemod.scan.parameters import fields, parameters
from bncodemod.scan.scopes import Function, own_method
from bncodemod.scan.summary import Asked, FlowFacts, Request

_NOT_FOUND = FlowFacts(found=False, escapes=True)


class Answers:
    """Answers to requests; ``path`` only names the file in them."""

    def __init__(self, names: Names, path: str) -> None:
        self.names = names
        self.tree = names.tree
        self.path = path

    def answer(self, request: Request) -> FlowFacts:
        """What becomes of the value that a request is about."""
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
            return self.facts(trace_variable(self.names, *bound))
        uses = [node for node, _ in uses_of(self.names, [request.name])]
        if request.asked is Asked.RESULTS:
            calls = [self.tree.parents.get(node) for node in uses]
            uses = [
                call
                for node, call in zip(uses, calls, strict=True)
                if isinstance(call, ast.Call) and node is call.func
            ]
        facts = self.facts(trace(self.names, *uses), direct=uses)
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
            return replace(self.facts(flow), sees_to_flag=sees_to_flag(self.names, definition))
        named = fields(definition, request.position, request.keyword)
        if named:
            return self.facts(trace_attribute(self.names, named[0]))
        if isinstance(definition, ast.ClassDef) and own_method(definition, "__init__") is None:
            return self._of_bases(definition, request)
        return _NOT_FOUND

    def _of_attribute(self, request: Request) -> FlowFacts:
        """What is read from an attribute that a class of another file gives to one of this."""
        owner, _, attribute = request.name.rpartition(".")
        definition = self._definition(owner)
        facts = self.facts(trace_attribute(self.names, attribute))
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
        return self.facts(trace_variable(self.names, *bound, key=request.keyword))

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

    def facts(self, flow: Flow, direct: Sequence[ast.AST] = ()) -> FlowFacts:
        """A flow's facts. Where it says the flag, a call of one of ``direct`` is a site."""
        demands = [self._elsewhere(demand) for demand in flow.demands if not demand.guessed]
        demands += [
            Elsewhere(Need.FLAG_BY_KEYWORD, self.path, f"{ast.unparse(call.func)}(…)")
            for call in flow.calls
            if call.func not in direct
            and any(k.arg == FLAG and not is_false(k.value) for k in call.keywords)
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
