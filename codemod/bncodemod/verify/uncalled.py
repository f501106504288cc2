"""Why a line that nothing reaches was never run, where that is plain from where it stands."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator
from types import ModuleType

from torch import nn

from bncodemod.verify.candidates import resolve
from bncodemod.verify.looking import function_below, is_instance, is_subclass
from bncodemod.verify.model import Job, Site, SiteKind, Unreached
from bncodemod.verify.patched_models import GUARDED, guarded_lines
from bncodemod.verify.promises import builds_module

_MAKING = frozenset({SiteKind.CALL, SiteKind.VALUE})
_LAMBDA = "it stands in a lambda: name a function or class that calls it in an example"


def uncalled(module: ModuleType, job: Job, reached: Iterable[Site]) -> Iterator[Unreached]:
    """The lines that make norms in what is not called, each with the reason."""
    sites = {site for site in job.sites if site.kind in _MAKING}.difference(reached)
    if not sites:
        return
    guarded, lambdas = guarded_lines(job.path), _lambdas(job.path)
    named = {example.name.partition(".")[0] for example in job.examples}
    for site in sites:
        name = site.owner.partition(".")[0]
        if site.line in guarded:
            yield Unreached(site, GUARDED)
        elif not name and site.line in lambdas:
            yield Unreached(site, _LAMBDA)
        elif name and name not in named and (why := _why_not(module, name)):
            yield Unreached(site, why)


def _why_not(module: ModuleType, name: str) -> str:
    """Why a class or function is never called; empty if it may have been."""
    owner = resolve(module, name)
    example = f'an example can name it (name = "{name}")'
    if is_instance(owner, type):
        is_module = is_subclass(owner, nn.Module)
        return "" if is_module else f"{name} is no nn.Module, and is not built: {example}"
    function = function_below(owner)
    if function is None or builds_module(owner):
        return ""
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return f"{name} is a coroutine or a generator, and is not called: put it into a function"
    return f"nothing in {name} says that it gives back a model, so it is not called: {example}"


def _lambdas(path: str) -> set[int]:
    """The lines of a file's lambdas."""
    with open(path, "rb") as file:
        tree = ast.parse(file.read())
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
