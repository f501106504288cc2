"""What a name of a module stands for, by way of other modules, and what derives from norms."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property

from bncodemod.catalog import libraries
from bncodemod.catalog.libraries import TORCH_MODULES, USUAL_MODULE_NAMES
from bncodemod.catalog.torch import NORM_CLASSES, NormClass, norm_class
from bncodemod.scan.construction import norm_it_stands_for
from bncodemod.scan.index import Exit
from bncodemod.scan.modules import AMBIGUOUS, ModuleMap, stem
from bncodemod.scan.summary import Import
from bncodemod.scan.targets import (
    NOTHING,
    Derived,
    External,
    File,
    Module,
    Symbol,
    Target,
    Targets,
    Unread,
)

# A name that comes by more modules than this, one importing it from the next, is not known.
MAX_CHAIN = 100


def _looks_like_norm(name: str, target: Target) -> bool:
    """Whether a thing of the project has a norm's name: who imports it must know what it is."""
    return "BatchNorm" in name and isinstance(target, Symbol)


def _is_torch_module(targets: Targets) -> bool:
    """Whether a name stands for a module of torch: every second file exports its ``nn``."""
    return all(isinstance(t, External) and t.qualified in TORCH_MODULES for t in targets)


def _is_plain(name: str, targets: Targets) -> bool:
    """Whether a use of a name shows by itself: torch's own norms, functions and module names."""
    if _is_torch_module(targets):
        return name in USUAL_MODULE_NAMES
    return any(
        isinstance(t, External)
        and f"{t.qualified}.".startswith("torch.")
        and f".{t.qualified}".endswith(f".{name}")
        for t in targets
    )


class Resolver:
    """Resolves the names of a fixed set of files; what is not among them is ``Unread``.

    ``given_back`` holds functions known to give back a norm that another file handed to them.
    """

    def __init__(
        self,
        modules: ModuleMap,
        files: dict[str, File],
        given_back: Mapping[str, set[str]],
    ) -> None:
        self._modules = modules
        self._files = files
        self._given_back = given_back
        self._depth = 0
        self._resolved: dict[Symbol, Targets] = {}
        self._bases: dict[Symbol, Derived | None] = {}
        self._whole_modules: dict[str, dict[str, Module]] = {}
        self._whole_imports: dict[tuple[str, str], Module | None] = {}

    def add(self, path: str, file: File) -> bool:
        """Take one more file in; False where that changes what names of other files stand for."""
        self._files[path] = file
        self._resolved.clear()
        self._whole_modules.clear()
        self._whole_imports.clear()
        exported = self._own_exports(path)
        if file.stars or not all(map(_is_torch_module, exported.values())):
            return False
        self._exported[path] = exported
        return True

    def imported(self, path: str, item: Import, through: set[Symbol] | None = None) -> Targets:
        """What an import statement of a file brings in."""
        if not item.name:
            name = item.module if item.local else item.spelled
            module = self._modules.resolve(path, name, 0)
            if module == AMBIGUOUS:
                return NOTHING
            return frozenset({External(name) if module is None else Module(module)})
        module = self._modules.resolve(path, item.module, item.level)
        if module is None:
            return NOTHING if item.level else frozenset({External(item.spelled)})
        if module == AMBIGUOUS:
            candidates = self._modules.candidates(item.module)
            return frozenset(t for c in candidates for t in self.in_module(c, item.name, through))
        return self.in_module(module, item.name, through)

    def in_module(self, path: str, name: str, through: set[Symbol] | None = None) -> Targets:
        """What a name of a module stands for; empty where that is not known."""
        here = Symbol(path, name)
        known = self._resolved.get(here)
        if known is not None:
            return known
        if through is None:
            through = set()
            self._resolved[here] = known = self._looked_up(here, through)
            return known
        # Each name is looked at once for a question, however many ways lead to it.
        if here in through or self._depth > MAX_CHAIN:
            return NOTHING
        return self._looked_up(here, through)

    def _looked_up(self, here: Symbol, through: set[Symbol]) -> Targets:
        through.add(here)
        self._depth += 1
        try:
            return self._found_in(here.path, here.name, through)
        finally:
            self._depth -= 1

    def _found_in(self, path: str, name: str, through: set[Symbol]) -> Targets:
        here = Symbol(path, name)
        file = self._files.get(path)
        if file is not None:
            # An import that may fail, and what stands in for it, are both there.
            found: set[Target] = {here} if file.defines(name) else set()
            dotted = () if found else file.summary.assigned.get(name, ())
            for expression in dotted:
                found |= self.dotted(path, expression, through)
            for item in file.by_local.get(name, ()):
                found |= self.imported(path, item, through)
            if found:
                return frozenset(found)
            if dotted:
                return frozenset({here})
        submodule = self._modules.submodule(path, name)
        if submodule is not None:
            return frozenset({Module(submodule)})
        if file is None:
            return NOTHING if path.endswith("/") else frozenset({Unread(path, name)})
        return self._by_star(file, path, name, through)

    def _by_star(self, file: File, path: str, name: str, through: set[Symbol]) -> Targets:
        for item in reversed(file.stars):
            module = self._modules.resolve(path, item.module, item.level)
            if module is None:
                if name in libraries.exported_by(item.module):
                    return frozenset({External(f"{item.module}.{name}")})
            elif module != AMBIGUOUS and self.is_public(module, name):
                found = self.in_module(module, name, through)
                # An unread module may have any name: that it has this one is not known.
                if found and not any(isinstance(t, Unread) for t in found):
                    return found
        return NOTHING

    def is_public(self, module: str, name: str) -> bool:
        file = self._files.get(module)
        return not name.startswith("_") if file is None else file.is_public(name)

    def dotted(self, path: str, dotted: str, through: set[Symbol] | None = None) -> Targets:
        """What an expression such as ``layers.BN`` stands for in a module."""
        head, *rest = dotted.split(".")
        targets = self.in_module(path, head, through)
        for attribute in rest:
            found: set[Target] = set()
            for target in targets:
                if isinstance(target, External):
                    found.add(External(f"{target.qualified}.{attribute}"))
                elif isinstance(target, Module):
                    found |= self.in_module(target.path, attribute, through)
            targets = frozenset(found)
        return targets

    def brought_in(self, path: str, item: Import) -> Targets:
        """What an import brings in; a star import, the whole module."""
        if item.name != "*":
            return self.imported(path, item)
        module = self._modules.resolve(path, item.module, item.level)
        return frozenset({Module(module)} if module and module != AMBIGUOUS else ())

    def definition(self, path: str, way: Exit) -> tuple[Symbol, list[str]] | Unread | None:
        """The symbol that an exit's name leads to, with the attributes behind it."""
        parts = way.name.split(".")
        spelled = self._files[path].spelled if path in self._files else {}
        for length in range(len(parts), 0, -1):
            item = spelled.get(".".join(parts[:length]))
            if item is not None:
                break
        else:
            return None
        rest = parts[length:]
        targets = self.imported(path, item)
        while len(targets) == 1:
            (target,) = targets
            if isinstance(target, Symbol):
                return target, rest
            if isinstance(target, Unread):
                return target
            if isinstance(target, External) or not rest:
                return None
            targets = self.in_module(target.path, rest.pop(0))
        return None

    def modules_in(self, path: str) -> dict[str, Module]:
        """The modules of the project that a module imports whole."""
        file = self._files.get(path)
        if path not in self._whole_modules:
            items = file.by_local.items() if file is not None else ()
            found = {name: self._whole(path, item) for name, (item, *_) in items}
            self._whole_modules[path] = {n: m for n, m in found.items() if m is not None}
        return self._whole_modules[path]

    def _whole(self, path: str, item: Import) -> Module | None:
        """The module that an import brings in, if it brings in one."""
        passed: list[tuple[str, str]] = []  # modules, and the names that are asked of them
        found = None
        while item.name:
            module = self._modules.resolve(path, item.module, item.level)
            step = (module or "", item.name)
            if not module:
                break
            if step in self._whole_imports:
                found = self._whole_imports[step]
                break
            passed.append(step)
            self._whole_imports[step] = None  # ends a cycle
            file = self._files.get(module)
            if file is None or item.name not in file.by_local:
                break
            path, item = module, file.by_local[item.name][0]
        else:
            target = self._modules.resolve(path, item.module if item.local else item.spelled, 0)
            found = Module(target) if target else None
        for step in reversed(passed):
            submodule = None if found else self._modules.submodule(*step)
            found = self._whole_imports[step] = Module(submodule) if submodule else found
        return found

    def exports(self, path: str) -> dict[str, Targets]:
        """The names of a module that may mean a norm, or a module of torch."""
        return self._exported.get(path, {})

    @cached_property
    def _exported(self) -> dict[str, dict[str, Targets]]:
        """The exports of all files; star imports hand them on until nothing is added."""
        found = {path: self._own_exports(path) for path in self._files}
        importers: dict[str, list[str]] = defaultdict(list)
        for path, file in self._files.items():
            for item in file.stars:
                module = self._modules.resolve(path, item.module, item.level)
                if module:
                    importers[module].append(path)
        todo = deque(path for path in found if found[path] and path in importers)
        while todo:
            module = todo.popleft()
            for path in importers[module]:
                new = {
                    name: targets
                    for name, targets in found[module].items()
                    if name not in found[path] and self.is_public(module, name)
                }
                if new:
                    found[path].update(new)
                    todo.append(path)
        return found

    def _own_exports(self, path: str) -> dict[str, Targets]:
        file = self._files[path]
        if file.from_outside is None:
            file.from_outside = self._from_outside(path, file)
        found = dict(file.from_outside)
        for name in file.names - file.settled:
            targets = self.in_module(path, name)
            if any(self.counts(t) or _looks_like_norm(name, t) for t in targets):
                found[name] = targets
        return found

    def _from_outside(self, path: str, file: File) -> dict[str, Targets]:
        """The exports that no other file has a say in; their imports need no look ever after."""
        found: dict[str, Targets] = {}
        settled = set()
        for item in file.stars:
            if self._modules.resolve(path, item.module, item.level) is None:
                for name in libraries.exported_by(item.module):
                    found[name] = frozenset({External(f"{item.module}.{name}")})
        for name, items in file.by_local.items():
            if file.defines(name) or name in file.summary.assigned:
                continue  # an import that may fail, and what stands in for it
            targets = frozenset(t for item in items for t in self.imported(path, item))
            if all(isinstance(target, External) for target in targets):
                settled.add(name)
                if any(map(self.counts, targets)):
                    found[name] = targets
        file.settled = frozenset(settled)
        return found

    def words(self) -> Iterator[tuple[str, str]]:
        """The names by which other files may mean a norm, each with the module that has it.

        None that shows by itself, such as torch's own.
        """
        holders = set()
        for path in self._files:
            for name, targets in self.exports(path).items():
                if not _is_plain(name, targets):
                    holders.add(path)
                    yield name, path
        for path in self._files:
            for name, module in self.modules_in(path).items():
                if module.path in holders and name != stem(module.path):
                    yield name, path

    def counts(self, target: Target) -> bool:
        """Whether a target is a norm, or may hold or build one."""
        if isinstance(target, External):
            return libraries.counts(target.qualified)
        if not isinstance(target, Symbol):
            return False
        return (
            self.alias(target) is not None
            or self.derived(target) is not None
            or self._gives_norm(target)
        )

    def alias(self, target: Symbol) -> NormClass | None:
        """The norm class that a name of a module is bound to."""
        file = self._files.get(target.path)
        flows = file.aliases.get(target.name) if file else None
        return NORM_CLASSES.get(flows[0][0], NORM_CLASSES["BatchNorm2d"]) if flows else None

    def _gives_norm(self, target: Symbol) -> bool:
        file = self._files.get(target.path)
        given = self._given_back.get(target.path, ())
        return target.name in given or (file is not None and target.name in file.results)

    def norm_of(self, target: Target) -> NormClass | None:
        """The norm that a name of the project stands for or derives from."""
        derived = self.norm_base(target)
        return derived.norm if derived else None

    def derived(self, target: Symbol, below: frozenset[Symbol] = frozenset()) -> Derived | None:
        """The norm that a class derives from; None for a class that derives from none."""
        if target in below:
            return None
        if target not in self._bases:
            self._bases[target] = self._derived_from(target, below | {target})
        return self._bases[target]

    def _derived_from(self, target: Symbol, below: frozenset[Symbol]) -> Derived | None:
        file = self._files.get(target.path)
        facts = file.summary.classes.get(target.name) if file else None
        if facts is None:
            return None
        replaced = norm_it_stands_for(target.name)
        if replaced is not None:
            return Derived(replaced, facts.parameters)
        for base in facts.bases:
            for found in self.dotted(target.path, base):
                derived = self.norm_base(found, below)
                if derived is not None:
                    own = facts.parameters
                    return derived if own is None else replace(derived, parameters=own)
        return None

    def norm_base(self, base: Target, below: frozenset[Symbol] = frozenset()) -> Derived | None:
        """The norm that a base is, or derives from."""
        if isinstance(base, External):
            norm = norm_class(base.qualified)
            return Derived(norm) if norm is not None else None
        if not isinstance(base, Symbol):
            return None
        norm = self.alias(base)
        return Derived(norm, alias=base) if norm is not None else self.derived(base, below)
