"""Paths as the user named them: workers are told absolute ones, whatever folder a module enters."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping

from bncodemod.verify.model import (
    CandidateResult,
    CheckResult,
    ModuleResult,
    Site,
    SiteResult,
    Verification,
)


def named(verification: Verification, names: Mapping[str, str]) -> Verification:
    """The same with the paths of ``names``; other files are named from the current folder."""
    return _Namer(names).verification(verification)


# A file that words name, as where a norm was built.
_FILE = re.compile(rf"(?<!\S){re.escape(os.sep)}\S+?\.py\b")


class _Namer:
    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = {os.path.realpath(path): name for path, name in names.items()}

    def verification(self, whole: Verification) -> Verification:
        return dataclasses.replace(
            whole,
            sites=tuple(map(self._site_result, whole.sites)),
            modules=tuple(map(self._module, whole.modules)),
            candidates=tuple(map(self._candidate, whole.candidates)),
        )

    def _name(self, path: str) -> str:
        if not path:
            return path
        known = self._names.get(os.path.realpath(path))
        if known is not None:
            return known
        relative = os.path.relpath(path)
        return path if relative.startswith(os.pardir) else relative

    def _words(self, words: str) -> str:
        return _FILE.sub(lambda found: self._name(found[0]), words)

    def _site(self, site: Site) -> Site:
        return dataclasses.replace(site, path=self._name(site.path))

    def _site_result(self, result: SiteResult) -> SiteResult:
        failure = result.failure and self._check(result.failure)
        return dataclasses.replace(
            result,
            site=self._site(result.site),
            failure=failure,
            reason=self._words(result.reason),
            failed_elsewhere=tuple(map(self._words, result.failed_elsewhere)),
        )

    def _module(self, result: ModuleResult) -> ModuleResult:
        return dataclasses.replace(result, path=self._name(result.path))

    def _candidate(self, result: CandidateResult) -> CandidateResult:
        return dataclasses.replace(
            result,
            path=self._name(result.path),
            sites=tuple(map(self._site, result.sites)),
            checks=tuple(map(self._check, result.checks)),
            notes=tuple(map(self._words, result.notes)),
            error=self._words(result.error),
            idle=tuple(map(self._site, result.idle)),
            unsure=tuple(map(self._site, result.unsure)),
        )

    def _check(self, result: CheckResult) -> CheckResult:
        return dataclasses.replace(
            result,
            path=self._name(result.path),
            message=self._words(result.message),
            sites=tuple(map(self._site, result.sites)),
            elsewhere=tuple(map(self._words, result.elsewhere)),
        )
