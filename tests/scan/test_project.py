"""Which files a project has to read."""

from __future__ import annotations

from collections.abc import Iterable

from bncodemod.scan.modules import ModuleMap
from bncodemod.scan.project import Project
from bncodemod.scan.reading import ProjectReader, Task
from bncodemod.scan.summarise import summarise
from bncodemod.scan.summary import Summary


class Sources:
    """A project that stands nowhere but here."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts
        self.searched: set[tuple[str, str]] = set()

    def is_file(self, path: str) -> bool:
        return path in self.texts

    def is_folder(self, path: str) -> bool:
        return any(name.startswith(f"{path}/") for name in self.texts)

    def all(self) -> Iterable[str]:
        return self.texts

    def summarise(self, tasks: list[Task]) -> Iterable[tuple[str, Summary | None]]:
        for task in tasks:
            text = self.texts[task.path].encode()
            yield task.path, summarise(text, task.path, task.requests, task.index)

    def find(self, words: frozenset[tuple[str, str]]) -> Iterable[str]:
        self.searched |= words
        return ()


def test_names_of_torch_are_not_searched_for() -> None:
    """Nearly every file says torch: a stand-in for a failing import must not have all read."""
    source = """
try:
    import torch
    from torch import nn
except ImportError:
    torch = nn = None
from torch.nn import BatchNorm2d as Norm
"""
    sources = Sources({"/p/norms.py": source})
    reader = ProjectReader(
        ModuleMap(sources),
        sources.summarise,
        sources.find,
        may_export=lambda path, name: False,
        holds_modules=lambda path: False,
        stars={},
    )
    project = Project(reader, keeps_batch_norm=lambda path: True, ignored=lambda path: "")
    project.build(["/p/norms.py"])
    assert sources.searched == {("Norm", "/p/norms.py")}
