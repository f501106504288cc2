"""How one file is rewritten."""

from __future__ import annotations

from dataclasses import dataclass

STRATEGIES = ("no-running-stats", "group-norm", "runtime-patch", "eval-mode", "auto")
THIRD_PARTY = ("report", "patch")
PATCHES = ("replace", "keep-statistics", "group-norm")
GROUP_FALLBACKS = ("divisor", "gcd", "per-channel", "error")


@dataclass(frozen=True, slots=True)
class Settings:
    """How one file is rewritten.

    ``groups``, ``min_group_size`` and ``group_fallback`` belong to the strategy ``group-norm``:
    a layer of C channels gets ``groups`` groups if that divides C and leaves ``min_group_size``
    channels in each, else what ``group_fallback`` says; so does the patch ``group-norm``.
    ``select`` and ``ignore`` hold prefixes of rule codes; an empty ``select`` selects all.
    ``third_party`` says what becomes of models that another library builds, and ``patch`` how they
    are patched: the strategies ``runtime-patch`` and ``auto`` always patch them, and ``auto``
    chooses how.
    """

    strategy: str = "no-running-stats"
    groups: int = 32
    min_group_size: int = 4
    group_fallback: str = "divisor"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    third_party: str = "report"
    patch: str = "replace"

    @property
    def keeps_batch_norm(self) -> bool:
        """Whether a batch norm is still one after the rewrite."""
        return self.strategy != "group-norm"

    @property
    def reads_calls(self) -> bool:
        """Whether calls of models matter, also in files that speak of no norm."""
        return self.strategy in ("eval-mode", "auto")

    @property
    def reads_uses(self) -> bool:
        """Whether it matters what other files do with models: load weights into them, train."""
        return self.reads_calls or self.patches

    @property
    def patches(self) -> bool:
        """Whether models that another library builds are patched at run time."""
        if self.strategy in ("no-running-stats", "group-norm"):
            return self.third_party == "patch"
        return self.strategy != "eval-mode"

    @property
    def changes_weights(self) -> bool:
        """Whether models may have other keys in their state dicts than before."""
        return self.strategy != "eval-mode" and (
            self.strategy != "runtime-patch" or self.patch != "keep-statistics"
        )

    @property
    def unused(self) -> dict[str, str]:
        """The options that have no effect here, each with the options that would give it one."""
        found = {}
        if self.strategy not in ("no-running-stats", "group-norm"):
            found["third_party"] = "--strategy no-running-stats or group-norm"
        if not self.patches or self.strategy == "auto":
            found["patch"] = "--strategy runtime-patch or --third-party patch"
        by_patch = self.patch == "group-norm" and "patch" not in found
        if self.strategy != "group-norm" and not by_patch:
            for name in ("groups", "min_group_size", "group_fallback"):
                found[name] = "--strategy group-norm or --patch group-norm"
        return found

    def enabled(self, code: str) -> bool:
        """Whether the rule ``code`` runs: the longest prefix that matches decides, as in ruff."""
        selected = max((len(p) for p in self.select if code.startswith(p)), default=-1)
        ignored = max((len(p) for p in self.ignore if code.startswith(p)), default=-1)
        if ignored >= 0:
            return selected > ignored
        return selected >= 0 or not self.select


# The keys of pyproject.toml are the fields' names with hyphens.
PER_FILE = frozenset(Settings.__dataclass_fields__)
