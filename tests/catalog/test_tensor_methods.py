"""The methods of a tensor, against the torch that is installed."""

from __future__ import annotations

import pytest

from bncodemod.catalog.tensor_methods import METHODS

torch = pytest.importorskip("torch")


def test_they_are_methods_of_a_tensor_and_of_no_module() -> None:
    public = {name for name in dir(torch.Tensor) if not name.startswith("_")}
    assert len(METHODS & public) > 500
    shared = METHODS & {*dir(torch.nn.Module)}
    assert "forward" not in METHODS
    assert all(hasattr(torch.Tensor, name) for name in shared)
