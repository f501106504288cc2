"""What ``auto`` does with running statistics: one decision for all files that may share models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from bncodemod.model import FileResult
from bncodemod.scan.index import Evaluation, ProjectIndex, Uses
from bncodemod.scan.links import Links
from bncodemod.settings import Settings
from bncodemod.sweep.guard import is_risky
from bncodemod.sweep.sharing import Sharing
from bncodemod.sweep.worker import Task, paused_gc, read

_KEEPING = ("auto", "eval-mode")


def evaluations_of(tasks: Sequence[Task]) -> list[Evaluation]:
    """What each file runs under transforms; nothing where it cannot be read."""
    return [evaluation_of(read(path), settings, index) for path, settings, index in tasks]


def evaluation_of(data: bytes | FileResult, settings: Settings, index: ProjectIndex) -> Evaluation:
    """What the bytes of a file run under transforms."""
    from bncodemod.core import evaluated

    if not isinstance(data, bytes) or is_risky(data):
        return Evaluation()
    try:
        with paused_gc():
            return evaluated(data, settings, index)
    except Exception:  # a bug, or a file that is too deep: that is said of the file itself
        return Evaluation()


class Evaluations:
    """For each file, whether all models that it may share are in eval mode under transforms.

    ``sharing`` puts files into groups by their ``links``; ``found`` is what those with transforms
    run; ``strategy`` and ``shown`` say how a file is rewritten, and how it is called in messages.
    """

    def __init__(
        self,
        links: Mapping[str, Links],
        sharing: Sharing,
        found: Mapping[str, Evaluation],
        strategy: Callable[[str], str],
        shown: Callable[[str], str],
    ) -> None:
        self._sharing = sharing
        for path, evaluation in found.items():
            if evaluation.is_open:  # its models may be any of the project's
                for other, link in links.items():
                    if link.builds:
                        self._sharing.join(path, other)
        self._runs: dict[str, str] = {}
        self._obstacles: dict[str, str] = {}
        self._own_obstacles: dict[str, str] = {}
        for path, evaluation in sorted(found.items()):
            group = self._sharing.group(path)
            if evaluation.run:
                way = evaluation.way.replace(" here", "")
                self._runs.setdefault(group, f"{way} ({shown(path)}:{evaluation.run})")
            reason = evaluation.against(f"{shown(path)}:{evaluation.obstacle}")
            if reason:
                self._own_obstacles[path] = reason
                self._obstacles.setdefault(group, reason)
        self._flat: dict[str, str] = {}
        for path, link in sorted(links.items()):
            group = self._sharing.group(path)
            if link.flat:
                self._flat.setdefault(group, shown(path))
            if link.builds and group in self._runs and strategy(path) not in _KEEPING:
                reason = f"norms of {shown(path)} are rewritten by --strategy {strategy(path)}"
                self._obstacles.setdefault(group, reason)

    def add(self, path: str, uses: Uses) -> Uses:
        """The uses of a file with what is decided for it."""
        group = self._sharing.group(path)
        obstacle = self._own_obstacles.get(path) or self._obstacles.get(group, "")
        return replace(
            uses,
            evaluated="" if obstacle else self._runs.get(group, ""),
            unevaluated=obstacle,
            flat=self._flat.get(group, ""),
        )
