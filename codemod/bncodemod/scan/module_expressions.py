"""Which expressions of a file are modules of torch, as far as it shows, and what gives them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from bncodemod.catalog import module_classes
from bncodemod.catalog.libraries import gives_module
from bncodemod.scan.callers import handed_to
from bncodemod.scan.model_places import CHAIN, COPIES
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import Binding, BindingKind, Function
from bncodemod.source.dotted_names import last_name

MAKE_FUNCTIONAL = re.compile(r"(?:^|\.)(?:make_functional\w*|combine_state_for_ensemble)$")
_MODULE_NAME = re.compile(
    r"(?:^|_)(?:f?model|net|network|module|backbone|encoder|decoder|classifier|critic|generator"
    r"|discriminator|extractor|regressor|teacher|student|resnet|cnn|mlp)\d*$",
    re.IGNORECASE,
)
# ``create_model`` gives one, and is none.
_GIVER_NAME = re.compile(r"(?:^|_)(?:build|construct|create|get|init|load|make|new|setup)_")
_BUILDER_NAME = re.compile(r"(?:net|network|model|module)\w{0,4}$", re.IGNORECASE)
_LIBRARIES = ("torch.nn.", "torchvision.models.", "timm.", "segmentation_models_pytorch.", "monai.")
_GIVE_MODULES = frozenset({"torch.hub.load", "torch.jit.script", "torch.compile"})
_SEQUENCES = frozenset({"enumerate", "iter", "list", "reversed", "set", "sorted", "tuple"})
_PARTS = re.compile(r"^(?:named_)?(?:children|modules)$")
_FOR = (ast.For, ast.AsyncFor, ast.comprehension)


class ModuleExpressions:
    """Tells modules of one file by what they are made from, else by their names."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.tree = names.tree
        self._asked: set[ast.AST] = set()
        self._asked_values: set[ast.expr] = set()

    def is_module(self, node: ast.expr) -> bool:
        """Whether an expression is evidently a module: by what it was made from, else by its name.

        A name counts only where nothing is known of its value.
        """
        if node in self._asked_values:
            return False
        self._asked_values.add(node)  # ``x = x.to(device)`` in a loop
        try:
            return self._is_module(node)
        finally:
            self._asked_values.discard(node)

    def _is_module(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Call):
            return self.builds_module(node)
        if is_self(node):
            return self.is_module_class(self.class_around(node))
        if isinstance(node, ast.Subscript):
            return _is_name_of_modules(last_name(node.value))
        if isinstance(node, ast.Attribute):
            return _is_module_name(node.attr) or self._is_set_to_module(node)
        if not isinstance(node, ast.Name):
            return False
        bindings = self.names.scopes.reaching(node)
        return bool(bindings) and any(self._bound_to_module(node.id, b) for b in bindings or ())

    def _is_set_to_module(self, node: ast.Attribute) -> bool:
        """Whether the file assigns a module to an attribute, also one that a method is given."""
        return any(
            isinstance(value, (ast.Call, ast.Name)) and self.is_module(value)
            for value in self.assigned(node)
        )

    def builds_module(self, call: ast.Call) -> bool:
        """Whether a call evidently gives a module."""
        function = call.func
        if isinstance(function, ast.Attribute) and function.attr in CHAIN:
            return self.is_module(function.value)
        qualified = self.names.qualified(function)
        if qualified in COPIES and call.args:
            return self.is_module(call.args[0])
        if qualified.startswith("torch.nn.functional."):
            return False
        if qualified in _GIVE_MODULES or qualified.startswith(_LIBRARIES):
            return True
        if gives_module(qualified):
            return True
        if self.is_module(function):
            return False
        definitions = [m.definition for m in self.names.meanings(function) if m.definition]
        if definitions:
            return any(self.is_module_class(d) or self._gives_module(d) for d in definitions)
        return bool(_BUILDER_NAME.search(last_name(function)))

    def built_by(self, node: ast.expr) -> list[ast.Call]:
        """The calls that give what an expression names, without the methods called on it."""
        if isinstance(node, ast.Name):
            bindings = self.names.scopes.reaching(node) or []
            values = [b.value for b in bindings if b.kind is BindingKind.VALUE]
            if len(values) < len(bindings):
                return []
        else:
            values = list(self.assigned(node)) if isinstance(node, ast.Attribute) else [node]
        return [v for v in map(_unchained, values) if isinstance(v, ast.Call)]

    def _bound_to_module(self, name: str, binding: Binding) -> bool:
        named = _is_module_name(name)
        if binding.kind is BindingKind.PARAMETER:
            annotation = getattr(binding.node, "annotation", None)
            if annotation is not None and "Module" in ast.unparse(annotation):
                return True
            return named or self._is_given_module(binding.node)
        if binding.kind is BindingKind.DEFINITION:
            return False
        if binding.kind is BindingKind.ELEMENT:
            call = binding.value
            made = isinstance(call, ast.Call) and MAKE_FUNCTIONAL.search(ast.unparse(call.func))
            if made and self._is_first(binding.node):
                return True
            return named or self._gives_modules(self.looped_over(binding))
        if binding.kind is BindingKind.VALUE:
            value = binding.value
            if isinstance(value, ast.Call):
                return self.builds_module(value) or (named and not self._is_known(value))
            if isinstance(value, (ast.Name, ast.Attribute, ast.Subscript)):
                return named or self.is_module(value)
            return False
        return named

    def looped_over(self, binding: Binding) -> ast.AST | None:
        """What a loop, also one in a comprehension, takes the values of one variable from."""
        target = self.tree.parents.get(binding.node)
        if isinstance(target, _FOR) and target.target is binding.node:
            return binding.value
        if not isinstance(target, ast.Tuple) or not isinstance(self.tree.parents.get(target), _FOR):
            return None
        place, value = target.elts.index(binding.node), binding.value  # type: ignore[arg-type]
        if not isinstance(value, ast.Call):
            return None
        if isinstance(value.func, ast.Name) and value.func.id == "zip":
            return value.args[place] if place < len(value.args) else None
        return value if place == 1 else None  # ``enumerate(nets)``, ``nets.items()``

    def _values(self, node: ast.Name) -> Iterator[ast.AST | None]:
        """What a variable is assigned, or handed as a parameter by the calls of the file."""
        for binding in self.names.scopes.reaching(node) or ():
            if binding.kind is BindingKind.VALUE:
                yield binding.value
            elif binding.kind is BindingKind.PARAMETER:
                yield from handed_to(self.tree, binding.node).values()

    def may_be_other(self, module: ast.expr) -> bool:
        """Whether a variable of a loop over some modules takes the value of a function as well."""
        bindings = self.names.scopes.reaching(module) if isinstance(module, ast.Name) else None
        for binding in bindings or ():
            value = self.looped_over(binding) if binding.kind is BindingKind.ELEMENT else None
            for given in self._lists(value):
                elements = (
                    given.values if isinstance(given, ast.Dict) else getattr(given, "elts", [])
                )
                if not all(map(self._is_or_gives, elements)):
                    return True
        return False

    def _lists(self, value: ast.AST | None) -> Iterator[ast.AST | None]:
        """What a loop may go over."""
        if isinstance(value, ast.Name):
            yield from self._values(value)
        elif isinstance(value, ast.Attribute):
            for kept in self.assigned(value):
                yield from self._values(kept) if isinstance(kept, ast.Name) else (kept,)
        else:
            yield value

    def _gives_modules(self, node: ast.AST | None) -> bool:
        """Whether an expression evidently holds modules, as a list or dict of them does."""
        if node is None or node in self._asked:
            return False
        self._asked.add(node)  # a list that is made of itself
        try:
            return self._holds_modules(node)
        finally:
            self._asked.discard(node)

    def _holds_modules(self, node: ast.AST) -> bool:
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return any(map(self._is_or_gives, node.elts))
        if isinstance(node, ast.Dict):
            return any(map(self._is_or_gives, node.values))
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
            return self._is_or_gives(node.elt)
        if isinstance(node, ast.DictComp):
            return self._is_or_gives(node.value)
        if isinstance(node, ast.BinOp):
            return self._gives_modules(node.left) or self._gives_modules(node.right)
        if isinstance(node, ast.Call):
            return self._call_gives_modules(node)
        if isinstance(node, (ast.Name, ast.Attribute)) and _is_name_of_modules(last_name(node)):
            return True
        if isinstance(node, ast.Name):
            return any(map(self._gives_modules, self._values(node)))
        if isinstance(node, ast.Attribute):
            return any(map(self._gives_modules, self.assigned(node)))
        return False

    def _call_gives_modules(self, call: ast.Call) -> bool:
        function = call.func
        if isinstance(function, ast.Attribute) and function.attr in ("values", "items"):
            return self._gives_modules(function.value)
        if isinstance(function, ast.Attribute) and _PARTS.search(function.attr):
            return self.is_module(function.value)
        if self.names.qualified(function) == "torch.nn.ModuleList":
            return True
        is_sequence = isinstance(function, ast.Name) and function.id in _SEQUENCES
        return is_sequence and any(map(self._gives_modules, call.args))

    def _is_or_gives(self, node: ast.expr | None) -> bool:
        return node is not None and (self.is_module(node) or self._gives_modules(node))

    def _is_given_module(self, parameter: ast.AST) -> bool:
        """Whether some call of the file hands a module to a parameter of a function."""
        function = self.tree.parent(self.tree.parent(parameter))
        if not isinstance(function, Function) or function in self._asked:
            return False
        self._asked.add(function)  # a function that hands its parameter to itself
        try:
            handed = handed_to(self.tree, parameter).values()
            return any(value is not None and self.is_module(value) for value in handed)
        finally:
            self._asked.discard(function)

    def _is_first(self, name: ast.AST) -> bool:
        target = self.tree.parents.get(name)
        return isinstance(target, (ast.Tuple, ast.List)) and target.elts[0] is name

    def _is_known(self, call: ast.Call) -> bool:
        """Whether it is a call of a function or class of this file, or of torch itself."""
        meanings = self.names.meanings(call.func)
        return all(m.definition or m.qualified.startswith("torch.") for m in meanings)

    def is_module_class(self, definition: ast.AST | None) -> bool:
        """Whether a definition is a class of modules, by its bases and their names."""
        if not isinstance(definition, ast.ClassDef):
            return False
        for base in definition.bases:
            if any(
                m.qualified.startswith("torch.nn.")
                or module_classes.lookup(m.qualified)
                or self.is_module_class(m.definition)
                for m in self.names.meanings(base)
            ):
                return True
            if last_name(base).endswith("Module") or _BUILDER_NAME.search(last_name(base)):
                return True
        return False

    def _gives_module(self, definition: ast.AST) -> bool:
        """Whether a function of the file returns something that it builds as a module."""
        if not isinstance(definition, Function):
            return False
        returned = [n.value for n in self.tree.walk_below(definition) if isinstance(n, ast.Return)]
        return any(
            isinstance(v, ast.expr) and self.is_module(v)
            for v in returned
            if not (isinstance(v, ast.Call) and self._is_own_call(v, definition))
        )

    def _is_own_call(self, call: ast.Call, definition: ast.AST) -> bool:
        return any(m.definition is definition for m in self.names.meanings(call.func))

    def assigned(self, node: ast.expr) -> Iterator[ast.AST]:
        """What the file assigns to an attribute of ``self``, in the class of the object."""
        if not isinstance(node, ast.Attribute):
            return
        owner = self.class_around(node) if is_self(node.value) else self.class_of(node.value)
        if owner is None:
            return
        for other in self.tree.occurrences(node.attr, owner):
            if isinstance(other, ast.Attribute) and isinstance(other.ctx, ast.Store):
                value = self._assigned_value(other)
                if value is not None:
                    yield value

    def _assigned_value(self, target: ast.Attribute) -> ast.expr | None:
        """What a target is assigned, alone or as one of several: ``self.a, self.b = a, b``."""
        holder = self.tree.parents.get(target)
        if not isinstance(holder, (ast.Tuple, ast.List)):
            return holder.value if isinstance(holder, (ast.Assign, ast.AnnAssign)) else None
        values = getattr(self.tree.parents.get(holder), "value", None)
        if not isinstance(values, (ast.Tuple, ast.List)) or len(values.elts) != len(holder.elts):
            return None
        return values.elts[holder.elts.index(target)]

    def class_of(self, node: ast.expr) -> ast.ClassDef | None:
        """The class of the file of which a variable surely keeps an instance."""
        bindings = self.names.scopes.reaching(node) if isinstance(node, ast.Name) else None
        values = [b.value for b in bindings or () if b.kind is BindingKind.VALUE]
        if len(values) != 1 or not isinstance(values[0], ast.Call):
            return None
        found = [meaning.definition for meaning in self.names.meanings(values[0].func)]
        return found[0] if len(found) == 1 and isinstance(found[0], ast.ClassDef) else None

    def class_around(self, node: ast.AST) -> ast.ClassDef | None:
        """The innermost class of the file that a node stands in."""
        return next((a for a in self.tree.ancestors(node) if isinstance(a, ast.ClassDef)), None)


def _unchained(value: ast.AST | None) -> ast.AST | None:
    while (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr in CHAIN
    ):
        value = value.func.value
    return value


def is_self(node: ast.expr) -> bool:
    """Whether an expression is ``self``."""
    return isinstance(node, ast.Name) and node.id == "self"


def _is_module_name(name: str) -> bool:
    return bool(_MODULE_NAME.search(name)) and not _GIVER_NAME.search(name)


def _is_name_of_modules(name: str) -> bool:
    """Whether a name is the plural of one that modules have: ``nets``."""
    return name.endswith("s") and _is_module_name(name.removesuffix("s"))
