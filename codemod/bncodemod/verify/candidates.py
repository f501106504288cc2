"""What in a module builds models: its nn.Module classes, functions that return one, and models."""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torch import nn

from bncodemod.verify.looking import attribute, function_below, is_instance, text
from bncodemod.verify.model import Example, Job, SiteKind
from bncodemod.verify.patch_results import kind_of
from bncodemod.verify.promises import builds_module


@dataclass(frozen=True)
class Candidate:
    """``name`` is the dotted name in the module, ``line`` where it is defined.

    It is built as ``call`` says, if that is given; ``variant`` tells it from others of its name.
    """

    name: str
    line: int
    target: Callable[..., Any]
    call: Example | None = None
    variant: str = ""

    @property
    def title(self) -> str:
        """The name, with the arguments of the call that it is to be built by."""
        if self.variant:
            return f"{self.name} {self.variant}"
        return f"{self.name}({self.call.arguments})" if self.call else self.name


def needs_arguments(candidate: Candidate) -> bool:
    """Whether a candidate cannot be called without arguments."""
    try:
        parameters = inspect.signature(candidate.target).parameters.values()
    except (TypeError, ValueError):
        return True
    named = (p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
    return any(p.default is p.empty for p in named)


def candidates(module: ModuleType, job: Job) -> list[Candidate]:
    """All of a module, in the order of its text; what the user names is taken at its word."""
    lines = _lines(job.path)
    # What holds a block is called for that, and need not build anything.
    blocks = {site.owner for site in job.sites if site.kind is SiteKind.BLOCK}
    named = {example.name for example in job.examples} - blocks
    found = {
        name: Candidate(name, lines.get(name, 0), target)
        for name, target in _members(module, module, "")
        if name in named or (builds_module(target) and not kind_of(target))
    }
    for name in named - found.keys():
        target = resolve(module, name)
        if callable(target):
            found[name] = Candidate(name, lines.get(name, 0), target)
    return sorted(found.values(), key=lambda candidate: candidate.line)


def _members(module: ModuleType, holder: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The classes, functions and models that a module defines, with what its classes define."""
    for name, value in list(vars(holder).items()):
        if is_instance(value, nn.Module):
            yield prefix + name, copies(value)
        elif text(value, "__module__") != module.__name__:
            continue
        elif is_instance(value, type):
            if not inspect.isabstract(value) and value.__qualname__ == prefix + name:
                yield prefix + name, value
                yield from _members(module, value, f"{prefix}{name}.")
                yield from _constructors(value)
        elif holder is module and function_below(value) is not None:
            yield name, value


def _constructors(owner: type) -> Iterator[tuple[str, Any]]:
    """The methods that are called on the class: ``EfficientNet.from_name``."""
    for name, value in vars(owner).items():
        if is_instance(value, classmethod, staticmethod):
            yield f"{owner.__qualname__}.{name}", attribute(owner, name)


def copies(model: nn.Module) -> Callable[[], nn.Module]:
    """Builds what a module has built when it was imported: copies of it."""

    def copy_of_it() -> nn.Module:
        return copy.deepcopy(model)

    return copy_of_it


def resolve(module: ModuleType, name: str) -> Any:
    """What a module has under a dotted name; None if there is nothing."""
    value: Any = module
    for part in name.split("."):
        value = attribute(value, part)
    return value


def _lines(path: str) -> dict[str, int]:
    """The lines on which a file's names are defined, by their dotted names."""
    with open(path, "rb") as file:
        return dict(_definitions(ast.parse(file.read()), ""))


def _definitions(holder: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
    for node in ast.iter_child_nodes(holder):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield prefix + node.name, node.lineno
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield prefix + target.id, node.lineno
        elif not isinstance(node, ast.expr):
            yield from _definitions(node, prefix)
