from torch.nn.modules.batchnorm import _NormBase


class Frozen(_NormBase):
    def _check_input_dim(self, x):
        pass

    def forward(self, x):
        return x
