"""Models that are patched where they are built, or put into eval mode where they are called."""

import timm
import torch
from torch import nn
from torch.func import jacrev, replace_all_batch_norm_modules_, vmap
from torchvision import models

trunk = timm.create_model("resnet18", pretrained=True)
nets = [models.densenet121().cuda() for _ in range(2)]
by_hand = replace_all_batch_norm_modules_(models.resnet18())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = models.resnet50(weights="DEFAULT")
        self.norm = nn.BatchNorm1d(8)

    def views(self, x):
        return vmap(self.backbone)(x)


def jacobians(model, x):
    # by rows
    found = vmap(jacrev(model))(x)
    again = vmap(model)(x)
    return found, again


if __name__ == "__main__":
    with torch.no_grad():
        print(jacobians(models.vgg11_bn(), torch.ones(2)))
