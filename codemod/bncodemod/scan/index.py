"""What the rest of the project says of the names that one file imports and of those it exports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from bncodemod.catalog.torch import NormClass, norm_class
from bncodemod.scan.need import Need


class ExitKind(Enum):
    """How a value leaves its file."""

    ARGUMENT = "is an argument of a callable of another file"
    VARIABLE = "is bound to a name of the module"
    RESULT = "is returned by a function of the module"
    ASSIGNED = "is assigned into another module"
    ATTRIBUTE = "is bound to an attribute that a base class of another file may read"
    METHOD = "is an argument of a method of an object whose class is not known"


@dataclass(frozen=True, slots=True)
class Exit:
    """One way on which a value leaves its file.

    ``name`` is the callee or the target as the file names it (a leading dot marks a relative
    import), or a name of the module itself, or of a method; ``position`` and ``keyword`` say which
    argument it is, ``many`` whether there are so many others that a ``*args`` may reach a norm's
    flag.
    """

    kind: ExitKind
    name: str
    position: int | None = None
    keyword: str = ""
    many: bool = False


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A use in another file that works with a class only: where, and the code that stands there."""

    need: Need
    place: str
    code: str


@dataclass(frozen=True, slots=True)
class Beyond:
    """What becomes of a value behind an exit, in all files that it reaches.

    ``calls`` says whether it is called, ``sure`` whether nothing else can be what those calls call;
    ``unwrapped`` whether some use reads ``.func``; ``escapes`` whether it goes on to where it
    cannot be followed, ``returned`` whether the call that it is handed to gives it back.
    ``sees_to_flag``: what it is handed to shows itself what becomes of the flag.
    """

    demands: tuple[Elsewhere, ...] = ()
    calls: bool = False
    sure: bool = True
    unwrapped: bool = False
    escapes: bool = False
    returned: bool = False
    sees_to_flag: bool = False


@dataclass(frozen=True, slots=True)
class Uses:
    """What other files do with what a file defines or builds: by its name there, with the place.

    - ``loaded``: weights are loaded into what calls of that name give, or into its instances.
    - ``freezing``: a function of another file that puts batch norms alone into eval mode.
    - ``transferring``: a function of another file that loads the state of a model into another.
    - ``unlinked``: the place of a load that does not show what it loads into; empty if none.
    - ``saved``: their state is taken or saved.
    - ``trained``: a function that is called in a training, maybe by way of a third file's.
    - ``in_train_mode``: a function that is called with a model in train mode.
    - ``switching``: a function of another file that puts a model into train mode.
    - ``handed``: a function that is handed around as a value, which is not followed.
    - ``alone``: functions that run models under transforms and that no other file speaks of.
    - ``transformed``: a definition that is named in a file with transforms such as vmap.
    - ``transforming``: a function of another file that runs what it is given under a transform,
      which does not show there whether that is a module.
    - ``running``: one that does so and takes what it is given for a module.
    - ``leading``: a function of another file by which models run under a transform.
    - ``named``: a name of the module that another file may import.
    - ``evaluated``: how and where models run under transforms in the files that may share them with
      this one, if all of them can be in eval mode there, or run as they are; else empty.
    - ``flat``: a file among those that builds BatchNorm1d.
    - ``unevaluated``: what keeps them from it; empty if nothing does, or none run under transforms.

    ``is_known`` says whether the other files were looked at for this.
    """

    loaded: Mapping[str, str] = field(default_factory=dict)
    saved: Mapping[str, str] = field(default_factory=dict)
    trained: Mapping[str, str] = field(default_factory=dict)
    in_train_mode: Mapping[str, str] = field(default_factory=dict)
    switching: Mapping[str, str] = field(default_factory=dict)
    handed: Mapping[str, str] = field(default_factory=dict)
    alone: frozenset[str] = frozenset()
    transformed: Mapping[str, str] = field(default_factory=dict)
    transforming: Mapping[str, str] = field(default_factory=dict)
    running: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, str] = field(default_factory=dict)
    freezing: Mapping[str, str] = field(default_factory=dict)
    transferring: Mapping[str, str] = field(default_factory=dict)
    unlinked: str = ""
    leading: Mapping[str, str] = field(default_factory=dict)
    evaluated: str = ""
    unevaluated: str = ""
    flat: str = ""
    is_known: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a file runs under transforms, as lines; 0 where there is nothing of that kind.

    - ``run``: models run under a transform; ``way`` says how, if all of them work so.
    - ``obstacle``: a model cannot be put into eval mode there, or it is not seen what runs.
    - ``is_open``: whether models are run that come from where no file of the project shows.
    """

    run: int = 0
    way: str = ""
    obstacle: int = 0
    is_open: bool = False

    def against(self, place: str) -> str:
        """What the obstacle is, which stands at a place; empty if there is none."""
        if not self.obstacle:
            return ""
        return f"{place} runs a model under a transform that is not seen to work in eval mode"


@dataclass(frozen=True, slots=True)
class NormSource:
    """Which other files build norms that are rewritten: where models come from that a file loads.

    ``makers`` are the names in the file that lead to models, each with the file that builds norms
    of these, if any does; ``otherwise`` is what may build the norms of a model that is not known.
    """

    makers: Mapping[str, str] = field(default_factory=dict)
    otherwise: str = ""

    def of(self, maker: str) -> str:
        """The file that builds norms of what a name leads to; empty if none does."""
        return self.makers.get(maker, self.otherwise)


@dataclass(frozen=True)
class ProjectIndex:
    """What one file needs to know of the others; every name is spelled as the file imports it.

    - ``names``: what a name stands for: ``{".norms.BN": "torch.nn.BatchNorm2d"}``. A name that
      stands for itself is a thing of the project that is dealt with where it is defined.
    - ``subclasses``: classes of the project that derive from a norm and leave the flag to the calls
      that build them.
    - ``handled``: those that see to the flag themselves, and aliases, with their parameters: only a
      call that names the flag undoes it.
    - ``ambiguous``: names that are a norm or something else, said in words.
    - ``ignored``: names from files that may build norms and are never rewritten, with those files.
    - ``beyond``: what becomes of the values that leave the file.
    - ``own``: the packages that it imports and that are part of the project: in a sweep of timm,
      timm is no library whose models come from elsewhere.
    - ``built_elsewhere``: the file's own classes that other files build, the flag in their calls.
    - ``rebased``: its own classes whose calls cannot carry the flag, for what derives from them or
      is mixed in somewhere.
    - ``rebased_elsewhere``: the imported ones, which see to the flag whatever is passed over.
    - ``plain``: imported classes of the project that have no say in how a class is built.
    - ``uses``: what other files do with its models, where the strategy asks for that.
    - ``norm_source``: where the norms come from that it may load weights into, if it loads any.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    subclasses: Mapping[str, NormClass] = field(default_factory=dict)
    handled: Mapping[str, NormClass] = field(default_factory=dict)
    ambiguous: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)
    beyond: Mapping[Exit, Beyond] = field(default_factory=dict)
    built_elsewhere: frozenset[str] = frozenset()
    rebased: frozenset[str] = frozenset()
    rebased_elsewhere: frozenset[str] = frozenset()
    plain: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    uses: Uses = field(default_factory=Uses)
    norm_source: NormSource = field(default_factory=NormSource)

    @property
    def words(self) -> set[str]:
        """What a file must spell to use a norm of another file."""
        known = {name for name, target in self.names.items() if self._brings_norm(name, target)}
        named = {*known, *self.handled, *self.ambiguous, *self.ignored}
        return {name.rpartition(".")[2] for name in named}

    @property
    def has_demands(self) -> bool:
        """Whether other files ask something of a value that leaves the file."""
        return any(beyond.demands for beyond in self.beyond.values())

    @property
    def brings_loaded_norms(self) -> bool:
        """Whether weights that the file loads may be those of another file's norms."""
        return bool(self.norm_source.otherwise) or any(self.norm_source.makers.values())

    @property
    def brings_models(self) -> bool:
        """Whether models of other files matter, be a norm spelled here or not."""
        return self.brings_loaded_norms or bool(
            self.uses.transforming or self.uses.running or self.uses.leading
        )

    def _brings_norm(self, name: str, target: str) -> bool:
        """Whether a name is a norm, or what may hold or build one under a name that hides it."""
        if self.norm(target):
            return True
        if target == name:
            return False
        # A file without a site must not pay for the catalogs.
        from bncodemod.catalog.libraries import USUAL_MODULE_NAMES, counts

        hidden = name.rpartition(".")[2] not in USUAL_MODULE_NAMES
        return hidden and counts(target)

    def spellings(self, *packages: str) -> list[str]:
        """The names by which the file imports something of other libraries from the project."""
        return [
            name
            for name, target in self.names.items()
            if any(f"{target}.".startswith(f"{package}.") for package in packages)
        ]

    def is_own(self, qualified: str) -> bool:
        """Whether a name is one of the project's."""
        return qualified.partition(".")[0] in self.own

    def norm(self, qualified: str) -> NormClass | None:
        """The norm that a qualified name denotes: torch's, or a subclass built like it."""
        return self.subclasses.get(qualified) or norm_class(qualified)


EMPTY_INDEX = ProjectIndex()
