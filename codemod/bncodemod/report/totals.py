"""What a run came to: the counts behind every summary and the exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bncodemod.model import FileResult, Status


@dataclass(slots=True)
class Totals:
    """Counts over the results of a run.

    ``applied`` says whether rewrites were carried out, on the disk or to standard output, or only
    looked for (``--check``, ``--diff``). ``files`` counts every file of the run, the failed ones
    included, so that ``files == changed + unchanged + failed``. ``seconds`` is what each stage of a
    sweep took.
    """

    applied: bool
    files: int = 0
    changed: int = 0
    failed: int = 0
    errors: int = 0
    by_code: Counter[tuple[str, Status]] = field(default_factory=Counter)
    by_kind: Counter[tuple[str, Status]] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, result: FileResult) -> None:
        """Count one file's result."""
        if result.errors:
            self.failed += 1
            self.errors += len(result.errors)
        elif result.after is not None:
            self.changed += 1
        for finding in result.findings:
            self.by_code[finding.code, finding.status] += 1
            self.by_kind[finding.kind, finding.status] += 1

    @property
    def unchanged(self) -> int:
        """Files that were read and need, or get, no change."""
        return self.files - self.changed - self.failed

    @property
    def findings(self) -> int:
        """All findings, whatever became of them."""
        return sum(self.by_code.values())

    def count(self, status: Status) -> int:
        """The findings of one status."""
        return sum(n for (_, found), n in self.by_code.items() if found is status)

    def exit_code(self, *, exit_zero: bool) -> int:
        """The exit code of the run.

        - 2: a file could not be handled
        - 1: something would change and was not, or a finding stays open; 0 under ``exit_zero``
        - 0: nothing is left to do
        """
        if self.errors:
            return 2
        left = (self.changed and not self.applied) or self.count(Status.OPEN)
        return 1 if left and not exit_zero else 0
