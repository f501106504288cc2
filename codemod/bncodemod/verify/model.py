"""What the verifier's stages hand on: frozen dataclasses that pickle, no torch object in them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum


class SiteKind(str, Enum):
    """How a site makes norms."""

    CALL = "call"  # the expression builds a norm where it stands
    VALUE = "value"  # a class, partial or factory that other code calls
    PATCH = "patch"  # a call that patches the norms of a model which is built
    BLOCK = "block"  # a ``with`` block in which models are in eval mode


@dataclass(frozen=True, slots=True)
class Site:
    """An expression that makes norms: what is to be shown to run.

    Lines and columns count from 1, columns in characters, ``end_column`` past the last one.
    ``rewritten`` says whether bncodemod is known to have written it (a rewrite just done, or a
    line that differs from ``--against``); ``code`` is the rule's, or empty; ``owner`` the dotted
    name of the class or function that holds it, empty at the module's top level.
    """

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    kind: SiteKind
    text: str
    code: str = ""
    rewritten: bool = False
    owner: str = ""


def in_order(sites: Iterable[Site]) -> tuple[Site, ...]:
    """Sites in the order of their places."""
    return tuple(sorted(sites, key=lambda site: (site.path, site.line, site.column)))


class Check(str, Enum):
    """What is checked, each on a deep copy; the order is that of running."""

    META_VMAP = "meta-vmap"  # vmap on the meta device raises nothing
    FORWARD = "forward"  # train mode runs on the device
    VMAP = "vmap"  # vmap over a batch of batches = loop
    GRAD = "grad"  # vmap(grad) over samples = loop
    ENSEMBLE = "ensemble"  # stack_module_state + functional_call = loop
    SINGLE = "single-sample"  # a batch of one
    EVAL = "eval"  # vmap in eval mode = loop
    BUFFERS = "buffers"  # no batched tensor is left in a buffer
    CONSTANT = "constant-output"  # no norm's output is constant
    INDEPENDENCE = "independence"  # group-norm: sample i's output does not depend on sample j
    ORIGINAL_FAILS = "original-fails"  # the original fails with the running-stats error
    STATE_DICT = "state-dict"  # keys lost or gained against the original
    BIT_IDENTICAL = "bit-identical"  # no-running-stats: train-mode outputs equal the original's
    KEPT_STATE = "kept-state-dict"  # keep-statistics: the state dict is that of the original
    KEPT_EVAL = "kept-eval"  # keep-statistics: eval-mode outputs equal the original's
    GROUPED = "group-norms"  # --patch group-norm: no batch norm is left
    EVAL_MODE = "eval-mode"  # a block's models are in eval mode when a transform runs them
    RESTORED = "mode-restored"  # behind a block, every module is in the mode that it was in


# The checks whose answer may be another one with other inputs of the same norm.
OF_USERS = frozenset({Check.CONSTANT, Check.INDEPENDENCE})


class Outcome(str, Enum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"  # does not apply, or was not reached; the message says why
    NOTED = "noted"  # a difference that is expected and worth knowing, as lost state-dict keys


class Cause(str, Enum):
    """Why a check failed, where that is known."""

    RUNNING_STATS = "running-stats"
    DIFFERS = "differs-from-loop"
    CHANGED = "differs-from-original"
    CONSTANT = "constant-output"
    LEAK = "leaked-buffer"
    DEPENDENT = "samples-depend"
    RANDOMNESS = "randomness"
    STOCHASTIC_DEPTH = "stochastic-depth"
    ITEM = "data-dependent-value"  # .item(), int(tensor)
    CONTROL_FLOW = "data-dependent-control-flow"
    DYNAMIC_SHAPE = "data-dependent-shape"  # boolean masks, nonzero
    IN_PLACE = "in-place-on-unbatched"
    RNN = "rnn"
    CHECKPOINT = "checkpointing"  # torch.utils.checkpoint, and other hooks of saved tensors
    FUNCTION = "autograd-function"  # of the user's, without what torch.func asks of one
    NO_RULE = "no-batching-rule"  # another operator that vmap does not know
    CHANNELS_LAST = "channels-last-group-norm"
    SINGLE_SAMPLE = "one-value-per-channel"
    BATCH_FOLDED = "batch-folded-into-channels"
    STRIDED = "strided-gradient"
    BROKEN = "broken-by-the-rewrite"
    STATISTICS = "statistics-lost"
    UNGROUPED = "batch-norm-left"
    TRAIN_MODE = "in-train-mode"
    MODE = "mode-not-restored"
    MEMORY = "out-of-memory"
    TIMEOUT = "timeout"
    CRASH = "crash"
    OTHER = "other"


# Causes that say nothing of the model: it asks for more time or memory than there is.
SPENT = frozenset({Cause.TIMEOUT, Cause.MEMORY})
# Causes that are the norm's own fault; the others say that something else stands in vmap's way.
NORM_CAUSES = frozenset(
    {
        Cause.RUNNING_STATS,
        Cause.DIFFERS,
        Cause.CHANGED,
        Cause.CONSTANT,
        Cause.LEAK,
        Cause.DEPENDENT,
        Cause.BATCH_FOLDED,
        Cause.STRIDED,
        Cause.BROKEN,
        Cause.STATISTICS,
        Cause.UNGROUPED,
        Cause.TRAIN_MODE,
        Cause.MODE,
    }
)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check of one candidate. ``path`` and ``line`` are the user's, 0 where unknown.

    ``sites`` are those whose norms are to blame, if only some are; empty: all of the candidate's.
    ``ran`` are those whose norms ran as in training, under a transform of torch.func; None where
    that was not watched. ``elsewhere`` says where norms stand that fail and that no site built.
    ``seconds`` is wall time; ``trace`` the raw traceback, shown on demand.
    """

    check: Check
    outcome: Outcome
    message: str = ""
    cause: Cause | None = None
    remedy: str = ""
    path: str = ""
    line: int = 0
    trace: str = ""
    seconds: float = 0.0
    sites: tuple[Site, ...] = ()
    ran: tuple[Site, ...] | None = None
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians in milliseconds of the loop and of vmap over the same ``size`` inputs or models.

    ``seconds`` is what measuring them took, wall time.
    """

    what: str  # "vmap" or "ensemble"
    size: int
    loop: float
    vmap: float
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Example:
    """A user's word on how to build and feed one candidate (or a call found in the project).

    ``name`` is that of a class or function, as ``Net``, or says where it is defined, as
    ``pkg.models:Net`` or ``pkg/models.py:Net``.
    ``arguments`` is the text of a call's arguments, evaluated in the module's namespace;
    ``inputs`` are shapes, each ``(N, ...)`` with the batch first, or the text of an expression.
    Without a ``batch``, no axis of theirs is that of one.
    """

    name: str
    arguments: str = ""
    inputs: tuple[tuple[int, ...] | str, ...] = ()
    batch: bool = True

    def said_in(self, folder: str) -> Example:
        """The same, with a file that is named from that folder."""
        file, _, name = self.name.rpartition(":")
        if not file.endswith(".py"):
            return self
        return replace(self, name=f"{os.path.join(folder, file)}:{name}")


@dataclass(frozen=True, slots=True)
class Job:
    """One module for a worker: ``name`` is its dotted name below ``root`` (on sys.path).

    ``folders`` are further ones for sys.path, behind ``root``: those above it in the project.
    """

    path: str
    name: str
    root: str
    sites: tuple[Site, ...]
    folders: tuple[str, ...] = ()
    other_sites: tuple[Site, ...] = ()  # of other files of the run: what a candidate may reach
    examples: tuple[Example, ...] = ()  # the user's: tried first, failures are reported
    calls: tuple[Example, ...] = ()  # found in the project's own code: tried later
    checks: frozenset[Check] = frozenset(Check)
    device: str = "cpu"
    seed: int = 0
    time: bool = False  # also measure vmap against the loop
    original_root: str = ""  # where the original sources stand; empty: not known
    skip: frozenset[str] = frozenset()  # candidates that killed a worker before
    unfinished: tuple[tuple[str, CheckResult], ...] = ()  # of candidates: they took too much
    done: frozenset[Site] = frozenset()  # sites that need no more checks
    # Names of candidates of other files whose users are to be checked for the ``doubted`` sites,
    # and nothing else.
    used: frozenset[str] = frozenset()
    doubted: frozenset[Site] = frozenset()


class Built(str, Enum):
    """How the arguments of a candidate were found."""

    EXAMPLE = "as the user says"
    NO_ARGUMENTS = "without arguments"
    CALL = "as a call in the project"
    HARVESTED = "as another model builds it"
    DEDUCED = "by deduction"


@dataclass(frozen=True, slots=True)
class CandidateResult:
    """A class or function of the module that builds an nn.Module, and what became of it.

    ``sites`` are those whose norms are in the built module *and* ran; ``idle`` those of them of
    which another norm, which keeps running statistics, did not; ``parts`` are what was run of a
    model that does not run as a whole; ``is_part`` says that it was checked in the place of a model
    that holds one; ``unsure`` are the sites of which what feeds it otherwise may leave nothing, as
    its inputs are a guess; ``error`` says why it could not be built or fed (empty if it was).
    """

    path: str
    name: str
    line: int
    built: Built | None = None
    call: str = ""  # the call that built it, as text
    inputs: str = ""  # shapes and types, as text
    sites: tuple[Site, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    timings: tuple[Timing, ...] = ()
    notes: tuple[str, ...] = ()  # as "dropout was switched off to compare"
    error: str = ""
    trace: str = ""
    seconds: float = 0.0
    idle: tuple[Site, ...] = ()
    parts: tuple[str, ...] = ()
    is_part: bool = False
    unsure: tuple[Site, ...] = ()
    guessed: bool = False  # what it was fed: nobody has said that it takes that


@dataclass(frozen=True, slots=True)
class ModuleResult:
    """A module that was imported, or the reason why not, and what to do about that.

    ``unread`` says that the file could not even be read or parsed: its sites are not known.
    """

    path: str
    error: str = ""
    remedy: str = ""
    trace: str = ""
    output: str = ""  # what it printed, shortened
    seconds: float = 0.0
    notes: tuple[str, ...] = ()  # as "it forked", "given up after a crash"
    unread: bool = False


# What a worker says while it works on a job, in this order.
@dataclass(frozen=True, slots=True)
class Started:
    """A candidate is about to be built, checked or timed (empty name: the import).

    ``sites`` are those that it holds, as soon as it is built: a crash is then put down to them.
    """

    name: str
    check: Check | None = None
    sites: tuple[Site, ...] = ()
    is_timed: bool = False
    line: int = 0  # where the candidate is defined


@dataclass(frozen=True, slots=True)
class Timed:
    """How long runs of a candidate take that has been checked; ``notes`` say what has no time."""

    path: str
    name: str
    timings: tuple[Timing, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreached:
    """Why nothing reaches a site, where the worker knows more than what became of candidates."""

    site: Site
    reason: str


@dataclass(frozen=True, slots=True)
class Noted:
    """What the report should say of the module."""

    text: str


Event = Started | ModuleResult | CandidateResult | Timed | Unreached | Noted


class Verdict(str, Enum):
    VERIFIED = "verified"
    FAILED = "failed"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class SiteResult:
    """The answer for one site: the unit of the report."""

    site: Site
    verdict: Verdict
    device: str = ""
    checks: tuple[Check, ...] = ()  # those that passed, in some candidate that reaches it
    candidate: str = ""  # the one that verified it, or failed
    failure: CheckResult | None = None
    reason: str = ""  # why it was not reached
    passed_in: str = ""  # a candidate that passes all checks, although another one fails
    failed_elsewhere: tuple[str, ...] = ()  # where norms stand that fail in the one that verifies
    parts: tuple[str, ...] = ()  # what the one that verifies was run of, if it does not run whole
    unfinished: tuple[Check, ...] = ()  # those that no candidate which verifies it came to end
    guessed: bool = False  # whether all that verify it were fed guesses


@dataclass(frozen=True, slots=True)
class Verification:
    """All that a run of the verifier has to say."""

    sites: tuple[SiteResult, ...]
    modules: tuple[ModuleResult, ...]
    candidates: tuple[CandidateResult, ...]
    device: str
    versions: dict[str, str] = field(default_factory=dict)  # torch, python, the card
    seconds: dict[str, float] = field(default_factory=dict)  # per stage
    tolerance: dict[str, float] = field(default_factory=dict)  # per dtype

    @property
    def unread(self) -> tuple[ModuleResult, ...]:
        """The files that could not be read or parsed."""
        return tuple(module for module in self.modules if module.unread)

    @property
    def coverage(self) -> float | None:
        """Verified sites in per cent of all; None where there are none."""
        verified = sum(result.verdict is Verdict.VERIFIED for result in self.sites)
        return 100.0 * verified / len(self.sites) if self.sites else None
