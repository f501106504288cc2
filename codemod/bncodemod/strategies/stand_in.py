"""Classes that a rewrite adds to a file to stand in for a norm class where a class is needed."""

from __future__ import annotations

import ast
from collections.abc import Callable

from bncodemod.catalog.torch import FLAG, NormClass
from bncodemod.strategies.context import Context

_DEFAULTS = {"eps": "1e-5", "momentum": "0.1", "affine": "True", FLAG: "True"}
_INDENT = " " * 8


def stand_in(
    context: Context,
    at: ast.AST,
    wanted: str,
    base: str,
    is_it: Callable[[ast.ClassDef], bool],
    code: Callable[[str, str], str],
) -> str:
    """The name of a class of this file that stands above the statement of the node ``at``.

    A class ``wanted`` that is there serves if ``is_it`` says so; otherwise ``code`` gives the
    source, from the name that is free and from how the qualified name ``base`` is written there.
    """
    imports = context.imports
    top = imports.top_level(at)
    for binding in context.names.scopes.bindings(context.tree.module, wanted):
        standing = binding.node
        if isinstance(standing, ast.ClassDef) and standing.lineno < top.lineno and is_it(standing):
            return wanted
    # Its base has to be bound above all that need the class, and these all name a norm.
    first = context.mentions[0].node
    return imports.helper(
        wanted, at, lambda name: code(name, imports.name_above_helpers(base, first))
    )


def takes_arguments(definition: ast.ClassDef, base: str, parameters: tuple[str, ...]) -> bool:
    """Whether a class derives from ``base`` and its ``__init__`` begins with these parameters."""
    inits = [s for s in definition.body if isinstance(s, ast.FunctionDef) and s.name == "__init__"]
    names = [argument.arg for init in inits for argument in init.args.args]
    bases = [ast.unparse(written).rpartition(".")[2] for written in definition.bases]
    return base in bases and names[1 : len(parameters) + 1] == list(parameters)


def signature(norm: NormClass, flag: str = _DEFAULTS[FLAG]) -> str:
    """The lines of torch's own parameters, with ``flag`` as default of the flag, and a ``**``."""
    defaults = {**_DEFAULTS, FLAG: flag}
    lines = [
        parameter if parameter == "num_features" else f"{parameter}={defaults.get(parameter)}"
        for parameter in norm.parameters
    ]
    return "".join(f"{_INDENT}{line},\n" for line in [*lines, "**kwargs"])


def name_line(name: str, norm: NormClass) -> str:
    """The line that gives the class the name of torch's; ``__qualname__`` stays, for pickle."""
    return f'{name}.__name__ = "{norm.name}"  # for code that picks layers by it\n'


def without_stats(context: Context, at: ast.AST, norm: NormClass) -> str:
    """The name of the class of this file that is ``norm`` without running statistics."""
    return stand_in(
        context,
        at,
        without_stats_name(norm),
        norm.qualified,
        lambda definition: is_without_stats(definition, norm),
        lambda name, base: without_stats_code(name, norm, base),
    )


def without_stats_name(norm: NormClass) -> str:
    """The name of the class that is ``norm`` without running statistics."""
    return f"{norm.name}WithoutStats"


def is_without_stats(definition: ast.ClassDef, norm: NormClass) -> bool:
    """Whether a class of the file is ``norm`` with its running statistics switched off."""
    switched_off = any(
        keyword.arg == FLAG
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value is False
        for keyword in ast.walk(definition)
        if isinstance(keyword, ast.keyword)
    )
    return switched_off and takes_arguments(definition, norm.name, norm.parameters)


def without_stats_code(name: str, norm: NormClass, base: str) -> str:
    """The source of the class that is ``norm`` without running statistics."""
    passed_on = "".join(
        f"{_INDENT}    {p}={'False' if p == FLAG else p},\n" for p in norm.parameters
    )
    return f'''\
class {name}({base}):
    """{norm.name} without running statistics, for where the class itself is needed.

    It takes {norm.name}'s arguments; {FLAG} is False whatever they say.
    """

    def __init__(
        self,
{signature(norm, "False")}\
    ):
        super().__init__(
{passed_on}\
            **kwargs,
        )


{name_line(name, norm)}'''
