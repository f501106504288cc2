"""An ensemble in one call: parameters stacked, the modules' buffers shared."""

import copy
from typing import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap


class Block(nn.Module):
    def __init__(self, width: int, norm: Callable[..., nn.Module] = nn.BatchNorm1d) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm: nn.Module = norm(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.norm(self.linear(x)))


class Regressor(nn.Module):
    def __init__(self, features: int = 8, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.stem = nn.Linear(features, width)
        self.norm: nn.BatchNorm1d = nn.BatchNorm1d(width, eps=1e-3)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.norm(self.stem(x)))).squeeze(-1)


def predict(models: "list[Regressor]", x: Tensor) -> Tensor:
    """The prediction of each member, (members, samples)."""
    base = copy.deepcopy(models[0])
    named = [dict(model.named_parameters()) for model in models]
    params = {k: torch.stack([n[k].detach() for n in named]) for k in named[0]}
    return vmap(lambda p: functional_call(base, p, (x,)))(params)


if __name__ == "__main__":
    members = [Regressor() for _ in range(5)]
    predictions = predict(members, torch.randn(16, 8))
    print("spread", predictions.std(0).mean().item())
