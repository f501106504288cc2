"""Maps a checkpoint saved before the rewrite to the code after it.

``norm_keys`` decides which keys go, ``counterpart`` which of them the code after it still has,
``torch_file`` (through ``nested``) and ``safetensors_file``
apply that to the two file formats, ``migrate`` puts the result in its place. Only ``torch_file``
imports torch.
"""
