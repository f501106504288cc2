"""Whether a call of a class goes straight to the ``__init__`` of the norm that it derives from.

Only then can the call carry an argument for it. A mixin, a metaclass or a decorator in between may
refuse the argument, or build the class where no call is seen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from bncodemod.catalog.torch import NORM_CLASSES, NormClass, norm_class
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import Function, own_method
from bncodemod.source.tree import LazyTree

# Bases, of whatever library, that leave construction alone.
HARMLESS = frozenset(
    {
        "abc.ABC",
        "builtins.object",
        "object",
        "torch.nn.Module",
        "torch.nn.modules.Module",
        "torch.nn.modules.module.Module",
    }
)
# What the classes of GroupNorm that a rewrite adds are called, before the norm's own name.
GROUP_NORM_AS = "GroupNormAs"
_HOOKS = frozenset({"__new__", "__init_subclass__", "__post_init__", "__getattribute__"})


def norm_it_stands_for(name: str) -> NormClass | None:
    """The norm in whose place an earlier rewrite has put a GroupNorm of that name."""
    return NORM_CLASSES.get(name.removeprefix(GROUP_NORM_AS)) if GROUP_NORM_AS in name else None


def base_name(base: ast.expr) -> ast.expr:
    """A base without the types in its brackets: ``A`` of ``A[int]``."""
    return base.value if isinstance(base, ast.Subscript) else base


def intervenes(tree: LazyTree, owner: ast.ClassDef) -> bool:
    """Whether a class says something about its construction other than by an ``__init__``."""
    return bool(
        owner.decorator_list
        or getattr(owner, "type_params", ())
        or any(not _is_abc(keyword) for keyword in owner.keywords)
        or any(isinstance(base, ast.Subscript) for base in owner.bases)
        or any(isinstance(s, Function) and s.name in _HOOKS for s in owner.body)
        or any(own_calls(tree, owner))
    )


def has_init(owner: ast.ClassDef) -> bool:
    """Whether a class has an ``__init__`` of its own."""
    return own_method(owner, "__init__") is not None


def own_calls(tree: LazyTree, owner: ast.ClassDef) -> Iterator[ast.Call]:
    """``cls(…)``, ``type(self)(…)`` and ``self.__class__(…)`` in the methods of a class.

    They build what derives from it as well, whose ``__init__`` may take other arguments.
    """
    for method in owner.body:
        if isinstance(method, Function) and method.args.args:
            for own in _own_class(tree, method):
                call = tree.parents.get(own)
                if isinstance(call, ast.Call) and call.func is own:
                    yield call


def _own_class(tree: LazyTree, method: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """The class of the object, or the class, that a method is called on, where it names it."""
    first = method.args.args[0].arg
    if any(ast.unparse(d) == "classmethod" for d in method.decorator_list):
        yield from (n for n in tree.occurrences(first, method) if isinstance(n, ast.Name))
        return
    for node in tree.occurrences("__class__", method):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == first:
            yield node
    for node in tree.occurrences("type", method):
        asked = tree.parents.get(node)
        if isinstance(asked, ast.Call) and ast.unparse(asked) == f"type({first})":
            yield asked


def skipped_classes(tree: LazyTree, owner: ast.ClassDef) -> Iterator[ast.expr]:
    """``Base`` of ``super(Base, self)``, which leaves the ``__init__`` of ``Base`` out."""
    for node in tree.occurrences("super", owner):
        call = tree.call_to(node)
        if call is not None and call.args:
            if ast.unparse(call.args[0]) not in (owner.name, "__class__"):
                yield call.args[0]


def is_plain(names: Names, owner: ast.ClassDef, below: tuple[ast.AST, ...] = ()) -> bool:
    """Whether nothing stands between a call of the class and the norm's ``__init__``.

    An ``__init__`` of the class itself, or of one that it derives the norm from, is no obstacle:
    it is the one that says the flag.
    """
    if owner in below or is_patched(names, owner):
        return False
    if intervenes(names.tree, owner) and not _has_init_on_the_way(names, owner):
        return False
    on_torch = any(_is_of_torch(names, base) for base in owner.bases)
    skipped = skipped_classes(names.tree, owner)
    if not on_torch and not all(_is_of_torch(names, base) for base in skipped):
        return False
    passing = [_passes(names, base, (*below, owner)) for base in owner.bases]
    return all(passing) and sum(derives_from_norm(names, base) for base in owner.bases) < 2


def _is_of_torch(names: Names, node: ast.expr) -> bool:
    return any(norm_class(meaning.qualified) for meaning in names.meanings(node))


def _has_init_on_the_way(
    names: Names, owner: ast.ClassDef, below: tuple[ast.AST, ...] = ()
) -> bool:
    """Whether a class, or one through which it derives from a norm, has an ``__init__``."""
    if has_init(owner) and any(derives_from_norm(names, base) for base in owner.bases):
        return True
    for base in owner.bases:
        for meaning in names.meanings(base_name(base)):
            if meaning.qualified in names.index.handled:
                return True
            definition = meaning.definition
            if isinstance(definition, ast.ClassDef) and definition not in below:
                if _has_init_on_the_way(names, definition, (*below, owner)):
                    return True
    return False


def patched_class(target: ast.expr) -> str:
    """The class whose construction an assignment changes: ``S`` of ``S.__init__ = …``."""
    changes = isinstance(target, ast.Attribute) and target.attr in ("__init__", "__new__")
    return ast.unparse(target.value) if changes else ""  # type: ignore[attr-defined]


def is_patched(names: Names, owner: ast.ClassDef) -> bool:
    """Whether the file changes a class's construction after the fact."""
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and ast.unparse(node.value) == owner.name
        for node in names.tree.occurrences("__init__")
    )


def _passes(names: Names, base: ast.expr, below: tuple[ast.AST, ...]) -> bool:
    if names.norms(base):
        return True
    for meaning in names.meanings(base):
        if isinstance(meaning.definition, ast.ClassDef):
            plain = is_plain(names, meaning.definition, below)
            if not plain or (has_init(meaning.definition) and not derives_from_norm(names, base)):
                return False
        elif meaning.qualified not in HARMLESS | names.index.plain | names.index.handled.keys():
            return False
    return True


def derives_from_norm(names: Names, base: ast.expr, below: tuple[ast.AST, ...] = ()) -> bool:
    """Whether a base is a norm class, or derives from one."""
    if names.norms(base):
        return True
    for meaning in names.meanings(base_name(base)):
        definition = meaning.definition
        if meaning.qualified in names.index.handled:
            return True
        if isinstance(definition, ast.ClassDef) and norm_it_stands_for(definition.name):
            return True
        if isinstance(definition, ast.ClassDef) and definition not in below:
            if any(derives_from_norm(names, b, (*below, definition)) for b in definition.bases):
                return True
    return False


def _is_abc(keyword: ast.keyword) -> bool:
    value = ast.unparse(keyword.value)
    return keyword.arg == "metaclass" and value.rpartition(".")[2] == "ABCMeta"
