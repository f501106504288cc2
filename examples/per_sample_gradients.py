"""Per-sample gradients, as differentially private training needs them."""

import torch
import torch.nn.functional as F
from functorch.experimental import replace_all_batch_norm_modules_
from torch.func import functional_call, grad, vmap
from torch.nn import BatchNorm2d as BN, Conv2d, Flatten, Linear, Module, ReLU, Sequential


class SmallNet(Module):
    def __init__(self, classes: int = 10, width: int = 16) -> None:
        super().__init__()
        self.features = Sequential(
            Conv2d(3, width, 3, stride=2), BN(width), ReLU(),
            Conv2d(width, 2 * width, 3, stride=2), BN(2 * width), ReLU(),
        )
        self.classifier = Sequential(Flatten(), Linear(2 * width * 49, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x))


def per_sample_gradients(model, images, labels):
    """A dictionary of gradients with a leading axis over the samples."""
    params = {k: v.detach() for k, v in model.named_parameters()}

    def loss(p, x, y):
        return F.cross_entropy(functional_call(model, p, (x[None],)), y[None])

    return vmap(grad(loss), in_dims=(None, 0, 0))(params, images, labels)


def patched(model):
    """The way out at run time; it leaves the source as it is."""
    return replace_all_batch_norm_modules_(model)


if __name__ == "__main__":
    images, labels = torch.randn(8, 3, 32, 32), torch.randint(0, 10, (8,))
    for name, gradient in per_sample_gradients(SmallNet(), images, labels).items():
        print(f"{name:28} {tuple(gradient.shape)}")
