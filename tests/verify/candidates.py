"""Builds and feeds classes and functions of small sources, as a worker does."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType

from bncodemod.verify.candidates import resolve
from bncodemod.verify.harvest import Harvest
from bncodemod.verify.model import Example, Job
from bncodemod.verify.prepare import Prepared, prepare
from bncodemod.verify.refusal import Refusal

_numbers = itertools.count()
HEAD = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"


def module_of(folder: Path, source: str) -> ModuleType:
    """A module of the user's that holds ``source``."""
    path = folder / f"users_module_{next(_numbers)}.py"
    path.write_text(HEAD + source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


class Worker:
    """Prepares the candidates of one source; what one shows helps with the next."""

    def __init__(self, folder: Path, source: str) -> None:
        self.module = module_of(folder, source)
        self.harvest = Harvest([str(folder)])

    def outcome(
        self,
        name: str,
        examples: tuple[Example, ...] = (),
        calls: tuple[Example, ...] = (),
    ) -> Prepared | Refusal:
        job = Job(
            str(self.module.__file__),
            self.module.__name__,
            "",
            (),
            examples=examples,
            calls=calls,
        )
        with self.harvest:
            return prepare(resolve(self.module, name), name, self.module, job, self.harvest)

    def prepared(
        self,
        name: str,
        examples: tuple[Example, ...] = (),
        calls: tuple[Example, ...] = (),
    ) -> Prepared:
        outcome = self.outcome(name, examples, calls)
        assert isinstance(outcome, Prepared), outcome
        return outcome
