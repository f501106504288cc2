"""What a module patches, as candidates: also models that it gives to nobody by their name."""

from __future__ import annotations

import ast
import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from torch import nn

from bncodemod.verify import patches
from bncodemod.verify.answers import Together
from bncodemod.verify.candidates import Candidate, copies, resolve
from bncodemod.verify.deduce import parameters
from bncodemod.verify.model import Job, Site, SiteKind, Unreached
from bncodemod.verify.patch_results import gives_patched
from bncodemod.verify.promises import builds_module

GUARDED = (
    'it stands below if __name__ == "__main__", which an import passes by: put it into a function'
)


def with_patched(found: list[Candidate], module: ModuleType, job: Job) -> list[Candidate]:
    """The candidates, with those that only the patches of the module show."""
    sites = [site for site in job.sites if site.kind is SiteKind.PATCH]
    if not sites:
        return found
    named = {example.name for example in job.examples}
    more = []
    for owner in sorted({site.owner for site in sites} - {""}):
        function = resolve(module, owner)
        if inspect.isfunction(function):
            own = frozenset(site for site in sites if site.owner == owner)
            line = function.__code__.co_firstlineno
            holder = _plain_class(module, owner)
            if holder is not None:
                if holder.__qualname__ in named:
                    target = _what_it_patches(holder, own)
                    more.append(Candidate(holder.__qualname__, line, target))
            elif gives_patched(function):
                more.append(Candidate(owner, line, _what_it_gives(function)))
            elif owner in named and not builds_module(function):
                more.append(Candidate(owner, line, _what_it_patches(function, own)))
    more += _at_import(sites, module)
    ours = {candidate.name for candidate in more}
    return sorted(
        [*(each for each in found if each.name not in ours), *more], key=lambda each: each.line
    )


def unreached(module: ModuleType, job: Job, reached: Iterable[Site]) -> Iterator[Unreached]:
    """Why patches of the module are not reached, where that is plain."""
    sites = [site for site in job.sites if site.kind is SiteKind.PATCH and site not in reached]
    guarded = guarded_lines(job.path) if sites else set()
    for site in sites:
        why = GUARDED if site.line in guarded else _why(site, module)
        if why:
            yield Unreached(site, why)


def _why(site: Site, module: ModuleType) -> str:
    if site in patches.empty:
        return "it was run, on a model without batch norms"
    owner, holder = (resolve(module, name) for name in (site.owner, site.owner.rpartition(".")[0]))
    if inspect.isclass(holder) and issubclass(holder, nn.Module):
        return ""
    if (plain := _plain_class(module, site.owner)) is not None:
        return (
            f"{plain.__qualname__} is no nn.Module: it is built only if an example names it"
            f" ({_example(plain.__qualname__, plain)})"
        )
    if inspect.isfunction(owner) and not builds_module(owner):
        return (
            f"{site.owner} is not known to give back the model: it is called only if an example"
            f" names it, and then up to this line ({_example(site.owner, owner)})"
        )
    return ""


def _example(name: str, function: Callable[..., Any]) -> str:
    return example_of(name, [p for p in parameters(function) if p.default is p.empty])


def example_of(name: str, needed: Iterable[inspect.Parameter]) -> str:
    """What an example has to say for a call of a function or class, as pyproject.toml writes it."""
    arguments = ", ".join(f"{parameter.name}=…" for parameter in needed)
    return f'name = "{name}"' + (f', arguments = "{arguments}"' if needed else "")


def guarded_lines(path: str) -> set[int]:
    """The lines of a file that run only where it is run as a script."""
    with open(path, "rb") as file:
        module = ast.parse(file.read())
    return {
        line
        for node in module.body
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def _plain_class(module: ModuleType, owner: str) -> type | None:
    """The class whose constructor a patch stands in, unless it is a module's."""
    name, _, method = owner.rpartition(".")
    holder = resolve(module, name) if method == "__init__" else None
    return holder if inspect.isclass(holder) and not issubclass(holder, nn.Module) else None


def _what_it_gives(function: FunctionType) -> Callable[..., Any]:
    """Calls a function, and gives the model among what it gives back."""

    def building(*args: Any, **kwargs: Any) -> nn.Module:
        result = function(*args, **kwargs)
        parts = result if isinstance(result, tuple) else (result,)
        return next(part for part in parts if isinstance(part, nn.Module))

    return _passing_for(function, building)


def _what_it_patches(function: Callable[..., Any], sites: frozenset[Site]) -> Callable[..., Any]:
    """Calls a function or class, up to its last patch, and gives what was patched."""

    def building(*args: Any, **kwargs: Any) -> nn.Module:
        with patches.watch(sites) as watched, contextlib.suppress(patches.Enough):
            function(*args, **kwargs)
        models = watched.distinct()
        return models[0] if len(models) == 1 else Together(models)

    return _passing_for(function, building)


def _passing_for(function: Callable[..., Any], building: Callable[..., Any]) -> Callable[..., Any]:
    building.__name__, building.__module__ = function.__name__, function.__module__
    building.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return building


def _at_import(sites: list[Site], module: ModuleType) -> Iterator[Candidate]:
    """Copies of the models that were patched while the module was imported, and have no name."""
    names = {id(value) for value in vars(module).values()}
    for site in sites:
        models = [m for m in patches.at_import(site) if id(m) not in names]
        for number, model in enumerate(models, 1):
            which = f" ({number})" if len(models) > 1 else ""
            yield Candidate(
                f"the model patched at line {site.line}{which}", site.line, copies(model)
            )
