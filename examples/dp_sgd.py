"""DP-SGD: the gradient of each sample is clipped, then noise is added to their sum."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap


class ConvNet(nn.Module):
    def __init__(self, classes=10, width=16):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
        )
        self.head = nn.Linear(2 * width * 25, classes)

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


class PrivateSGD:
    """Plain SGD on clipped and noisy gradients."""

    def __init__(self, model, lr=0.1, clip=1.0, noise=1.1):
        self.model = model
        self.lr, self.clip, self.noise = lr, clip, noise

    def sample_gradients(self, x, y):
        params = {k: v.detach() for k, v in self.model.named_parameters()}

        def loss(p, image, label):
            logits = functional_call(self.model, p, (image.unsqueeze(0),))
            return F.cross_entropy(logits, label.unsqueeze(0))

        return vmap(grad(loss), in_dims=(None, 0, 0))(params, x, y)

    def step(self, x, y):
        grads = self.sample_gradients(x, y)
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in grads.values()]).norm(dim=0)
        factor = (self.clip / (norms + 1e-6)).clamp(max=1.0)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                clipped = torch.einsum("n,n...->...", factor, grads[name])
                noisy = clipped + self.noise * self.clip * torch.randn_like(clipped)
                parameter -= self.lr * noisy / len(x)
        return norms


if __name__ == "__main__":
    optimizer = PrivateSGD(ConvNet())
    for step in range(3):
        norms = optimizer.step(torch.randn(16, 1, 28, 28), torch.randint(0, 10, (16,)))
        print(f"step {step}: gradient norms from {norms.min():.2f} to {norms.max():.2f}")
