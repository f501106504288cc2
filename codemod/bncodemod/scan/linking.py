"""What the imports of each file bring in from the rest of its project."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from bncodemod.catalog.torch import NormClass
from bncodemod.scan.index import ProjectIndex
from bncodemod.scan.modules import INSTALLED, ModuleMap
from bncodemod.scan.resolving import Resolver
from bncodemod.scan.summary import Import
from bncodemod.scan.targets import NOTHING, External, File, Module, Symbol, Target, Targets, Unread

# Modules within modules that are looked into where a file only names the outermost.
_MAX_NESTED = 3


@dataclass(slots=True)
class _Found:
    """The parts of an index that come from a file's imports."""

    names: dict[str, str] = field(default_factory=dict)
    subclasses: dict[str, NormClass] = field(default_factory=dict)
    handled: dict[str, NormClass] = field(default_factory=dict)
    ambiguous: dict[str, str] = field(default_factory=dict)
    may_be: dict[str, Targets] = field(default_factory=dict)
    spellings: dict[Symbol, str] = field(default_factory=dict)
    aliases_used: dict[str, Symbol] = field(default_factory=dict)
    subclasses_used: dict[str, Symbol] = field(default_factory=dict)
    classes_used: dict[str, Symbol] = field(default_factory=dict)


class Linker:
    """Links a fixed set of files, whose names ``resolver`` resolves.

    ``users`` fills up as ``names`` is asked for: who imports a symbol, and how it is spelled there.
    """

    def __init__(
        self,
        modules: ModuleMap,
        files: dict[str, File],
        given_back: Mapping[str, set[str]],
    ) -> None:
        self._modules = modules
        self._files = files
        self.resolver = Resolver(modules, files, given_back)
        self._links: dict[str, _Found] = {}
        self.users: dict[Symbol, set[tuple[str, str]]] = defaultdict(set)
        self.unread: dict[str, list[tuple[Import, Unread]]] = defaultdict(list)

    def add(self, path: str, file: File) -> bool:
        """Take one more file in; False where that changes too much and all must be linked anew."""
        if not self.resolver.add(path, file):
            return False
        for importer, unread in self.unread.items():
            if any(target.path == path for _, target in unread):
                self._links.pop(importer, None)
                self.unread[importer] = []
        return True

    def names(self, path: str) -> ProjectIndex:
        """What the imports of a file stand for, as an index without flows."""
        found = self._linked(path)
        return ProjectIndex(
            found.names,
            found.subclasses,
            found.handled,
            ambiguous=found.ambiguous,
            own=frozenset(filter(partial(self._is_own, path), self._files[path].packages)),
        )

    def sources(self, path: str) -> Iterator[tuple[str, str]]:
        """The names that a file imports, each with the file of the project that has it."""
        for item in self._files[path].summary.imports:
            spelled = item.spelled if item.name else item.module
            module = self._modules.resolve(path, item.module, item.level)
            if module:
                below = self._modules.submodule(module, item.name) if item.name else None
                yield spelled, below or module

    def aliases_used(self, path: str) -> dict[str, Symbol]:
        """The aliases of other files that a file imports, as it spells them."""
        return self._linked(path).aliases_used

    def may_be(self, path: str) -> dict[str, Targets]:
        """The norms, of several things, that an ambiguous name of a file may stand for."""
        return self._linked(path).may_be

    def subclasses_used(self, path: str) -> dict[str, Symbol]:
        """The subclasses of other files that a file imports and whose calls carry the flag."""
        return self._linked(path).subclasses_used

    def classes_used(self, path: str) -> dict[str, Symbol]:
        """The classes of other files that derive from a norm, as a file spells them."""
        return self._linked(path).classes_used

    def _linked(self, path: str) -> _Found:
        found = self._links.get(path)
        if found is None:
            found = self._links[path] = _Found()
            for item in self._files[path].summary.imports:
                if item.name == "*":
                    self._star(path, item, found)
                elif item.name:
                    self._link(path, item, item.spelled, self._norms_of(path, item), found)
                else:
                    # ``import a.b`` binds a; what is read from it is spelled in full.
                    targets = self.resolver.imported(path, replace(item, local=item.module))
                    self._link(path, item, item.module, targets, found)
        return found

    def _norms_of(self, path: str, item: Import) -> Targets:
        """What ``from module import name`` brings in, as far as it may be a norm or hold one."""
        module = self._modules.resolve(path, item.module, item.level)
        if module is None:
            return NOTHING
        if module in self._files:
            exported = self.resolver.exports(module).get(item.name)
            if exported is not None:
                return exported
            whole = self.resolver.modules_in(module).get(item.name)
            submodule = self._modules.submodule(module, item.name)
            if whole is not None or submodule is not None:
                return frozenset({whole or Module(submodule or "")})
            if item.local not in self._files[path].summary.roots:
                return NOTHING
        return self.resolver.imported(path, item)

    def _unread_stars(self, module: str) -> set[str]:
        """The files that were not read and that a star import leads to, by way of other stars."""
        found: set[str] = set()
        seen: set[str] = set()
        todo = [module]
        while todo:
            current = todo.pop()
            if current in seen or not current or current.endswith("/"):
                continue
            seen.add(current)
            file = self._files.get(current)
            if file is None:
                found.add(current)
            for item in file.stars if file else ():
                target = self._modules.resolve(current, item.module, item.level)
                todo.append(target or "")
        return found

    def _is_own(self, path: str, package: str) -> bool:
        return self._modules.resolve(path, package, 0) is not None

    def _star(self, path: str, item: Import, found: _Found) -> None:
        module = self._modules.resolve(path, item.module, item.level)
        if not module:
            return
        if self._files[path].has_free_roots:
            unread = self._unread_stars(module)
        else:
            unread = set() if module in self._files else {module}
        self.unread[path] += [(item, Unread(target, "*")) for target in unread]
        prefix = item.spelled[: -len("*")]
        exports = self.resolver.exports(module)
        for name in exports.keys() & self._files[path].summary.words:
            if self.resolver.is_public(module, name):
                self._link(path, item, f"{prefix}{name}", exports[name], found)

    def _link(self, path: str, item: Import, spelled: str, targets: Targets, found: _Found) -> None:
        if len(targets) != 1:
            self.unread[path] += [(item, t) for t in targets if isinstance(t, Unread)]
            # Which of them it is is known only at run time.
            if item.name and any(map(self.resolver.counts, targets)):
                found.ambiguous[spelled] = " or ".join(sorted(map(self._described, targets)))
                found.may_be[spelled] = frozenset(filter(self.resolver.counts, targets))
            return
        (target,) = targets
        if isinstance(target, External):
            if target.qualified != spelled:
                found.names[spelled] = target.qualified
        elif isinstance(target, Unread):
            self.unread[path].append((item, target))
        elif isinstance(target, Symbol):
            self._symbol(target, spelled, found)
            self.users[target].add((path, found.names[spelled]))
        else:
            self._link_module(path, item, spelled, target, found)

    def _link_module(
        self, path: str, item: Import, spelled: str, module: Module, found: _Found, depth: int = 0
    ) -> None:
        """What a file can read from a module that it imports, and from the modules in that one."""
        if spelled.partition(".")[0] in INSTALLED:
            # The project's own, under torch's name.
            found.names[spelled] = spelled = f"project.{spelled}"
        if module.path not in self._files:
            self.unread[path].append((item, Unread(module.path, "*")))
        summary = self._files[path].summary
        looked_into = (item.local or item.spelled) in summary.roots
        words = frozenset() if looked_into else summary.words
        for name, exported in self.resolver.exports(module.path).items():
            if not words or name in words:
                self._link(path, item, f"{spelled}.{name}", exported, found)
        if depth < _MAX_NESTED:
            for name, inner in self.resolver.modules_in(module.path).items():
                if name in words or not (words or depth):
                    below = f"{spelled}.{name}"
                    self._link_module(path, item, below, inner, found, depth + 1)

    def _described(self, target: Target) -> str:
        """What a message calls a target."""
        if isinstance(target, External):
            return target.qualified
        name = target.path.rpartition("/")[2]
        return name if isinstance(target, Module) else f"{target.name} of {name}"

    def _symbol(self, target: Symbol, spelled: str, found: _Found) -> None:
        # A file may import one thing from two places: it has one name then.
        found.names[spelled] = known = found.spellings.setdefault(target, spelled)
        if known != spelled:
            return
        norm = self.resolver.alias(target)
        if norm is not None:
            found.aliases_used[spelled] = target
            found.handled[spelled] = replace(norm, name=target.name, tracks=False)
            return
        derived = self.resolver.derived(target)
        if derived is None:
            return
        found.classes_used[spelled] = target
        if derived.parameters is None:
            found.subclasses[spelled] = replace(derived.norm, name=target.name)
            found.subclasses_used[spelled] = target
        else:
            found.handled[spelled] = replace(
                derived.norm,
                name=target.name,
                parameters=derived.parameters,
                tracks=False,
                lazy=False,
            )
