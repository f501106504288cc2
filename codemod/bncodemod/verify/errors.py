"""Why the verifier cannot run."""

from __future__ import annotations

from importlib.util import find_spec

NO_TORCH = "the verifier runs your code and needs torch"
INSTALL = "pip install 'bncodemod[verify]', in the environment that your code runs in"


class CannotVerify(Exception):
    """The verifier cannot run at all: no torch, no such device, a wrong file of examples."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy


class ChangesFiles(PermissionError):
    """What a user's code is not let do: to remove files, or rename them."""


def require_torch() -> None:
    """Raise CannotVerify where torch is not installed; it is not imported here."""
    if find_spec("torch") is None:
        raise CannotVerify(f"{NO_TORCH}, which is not installed", INSTALL)
