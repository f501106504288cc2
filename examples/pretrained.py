"""Fine-tunes a pretrained network on several views of each image at once, with vmap over the views.

The checkpoint stands in for one that is downloaded: it is made here.
"""

import os
import tempfile

import torch
import torch.nn.functional as F
from torch.func import vmap
from torchvision import models


def make_checkpoint(path, num_classes=10):
    """Train for a moment, so that weights and running statistics are not the initial ones."""
    net = models.resnet18(num_classes=num_classes)
    for _ in range(3):
        net(torch.randn(8, 3, 32, 32))
    torch.save(net.state_dict(), path)


def load(path, num_classes=10):
    """The checkpoint holds running statistics and is loaded strictly."""
    net = models.resnet18(num_classes=num_classes)
    net.load_state_dict(torch.load(path, weights_only=True))
    return net


def finetune(net, views, labels, steps=2, lr=1e-3):
    """Each view has its own batch statistics; ``views`` is (views, samples, 3, height, width)."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    net.train()
    for _ in range(steps):
        logits = vmap(net)(views)
        consistency = logits.var(0).mean()
        loss = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(views))) + consistency
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def predict(net, images):
    net.eval()
    with torch.no_grad():
        return net(images)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = os.path.join(folder, "pretrained.pth")
        make_checkpoint(checkpoint)
        net = load(checkpoint)
    images, labels = torch.randn(4, 3, 32, 32), torch.randint(0, 10, (4,))
    pretrained = predict(net, images)
    loss = finetune(net, torch.stack([images, images.flip(-1)]), labels)
    finetuned = predict(net, images)
    print(f"loss {loss:.3f}")
