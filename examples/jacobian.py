"""How sensitive a trained network is to its inputs: its Jacobian at each sample."""

import torch
import torch.nn as nn
from torch.func import jacrev, vmap


class Classifier(nn.Module):
    def __init__(self, features=6, width=32, classes=3):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(width, classes),
        )

    def forward(self, x):
        return self.layers(x)


def train(model, x, y, steps=5):
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def sensitivity(model, x):
    """The Jacobian of the outputs at each sample, (samples, classes, features)."""

    def outputs(row):
        return model(row.unsqueeze(0)).squeeze(0)

    return vmap(jacrev(outputs))(x)


if __name__ == "__main__":
    x, y = torch.randn(64, 6), torch.randint(0, 3, (64,))
    model = Classifier()
    train(model, x, y)
    jacobian = sensitivity(model, x)
    print("most sensitive to feature", jacobian.abs().sum((0, 1)).argmax().item())
    train(model, x, y)  # in the mode that it was in
