"""Whether a file's bytes can hold a site at all: a file that cannot is never decoded."""

from __future__ import annotations

import re

from bncodemod.catalog.transformers import MODEL_WORDS
from bncodemod.scan.index import EMPTY_INDEX, ProjectIndex

# A name with one of these has its file read in any case.
NORM_WORDS = ("BatchNorm", "InstanceNorm")
# Without the flag it is no site, but other files may give it one.
INSTANCE_NORM = b"InstanceNorm"

# An attribute of batch norm's that is read from what is called like a norm, or like any module.
_OF_NORM = re.compile(
    rb"\w*(?:[nN]orm|bn)\w*(?:\[[^]\n]*\])?\.(?:num_features|momentum|reset_running_stats)\b"
    rb"|\b(?:m|mod|module|layer|child|sub_?module|l|x)\d?\.(?:num_features|reset_running_stats)\b"
)
# Plain substring tests beat one alternation twentyfold. What stands behind a token is tried only
# where the token is found: a pattern, or other tokens of which one has to be there.
_Tokens = tuple[tuple[bytes, re.Pattern[bytes] | tuple[bytes, ...] | None], ...]
_TOKENS: _Tokens = (
    (b"BatchNorm", None),
    (b"_NormBase", None),
    (b"batch_norm", re.compile(rb"\bbatch_norm\b|replace_all_batch_norm_modules_")),
    (b"norm_layer", re.compile(rb"\bnorm_layer\s*=\s*[\w.]*GroupNorm\b")),
    (b"LazyInstanceNorm", None),
    (b"track_running_stats", None),
    (b"instance_norm", re.compile(rb"\binstance_norm\b")),
    (b"running_", re.compile(rb"\brunning_(?:mean|var)\b")),
    (b"num_batches_tracked", re.compile(rb"[.'\"]num_batches_tracked\b")),
    (b"update_bn", None),
    # What a GroupNorm lacks stays reported once no batch norm is left in the file.
    (b".num_features", (b"GroupNorm", b"__class__(")),
    (b".num_features", re.compile(rb"type\(\s*\w+\s*\)\s*\(")),
    (b".num_features", _OF_NORM),
    (b".momentum", _OF_NORM),
    (b".reset_running_stats", _OF_NORM),
    (b".load_state_dict(", (b"make_group_norm", b"GroupNorm(")),
    (b"convert_sync", re.compile(rb"convert_sync(?:_batchnorm|bn_model)\b")),
    (b"qat", re.compile(rb"\b(?:Conv|Linear)Bn(?:ReLU)?[123]d\b")),
    (b"BNReLU", re.compile(rb"\bBNReLU[23]d\b")),
    (b"fuse_", re.compile(rb"\bfuse_(?:conv_bn|modules)")),
    (b"BN", re.compile(rb"""['"](?:MMSync|Sync|Lazy)?BN\w*['"]""")),
    (b"getattr(", re.compile(rb"getattr\(\s*[\w.\s]*nn\s*,")),
    (b"nn as ", re.compile(rb"[. ]nn as (?!nn\b)")),
    (b"nn.__dict__", None),
    (b"vars(", re.compile(rb"\bvars\(\s*[\w.]*nn\s*\)")),
    (
        b"torchvision",
        re.compile(
            rb"torchvision\s*\.\s*models\b|import\s+torchvision\s+as\b"
            rb"|from\s+torchvision\s+import\s*(?:\(|\\|\*|.*\b(?:models|ops)\b)"
        ),
    ),
    (b"NormActivation", None),
    (b"timm", re.compile(rb"\btimm\s*(?:[,;#\\]|$|as\b|import\b|\.\s*models\b)", re.MULTILINE)),
    (b"timm", re.compile(rb"(?:create|get)_norm_(?:act_)?layer\(\s*(?:\w+\s*=\s*)?['\"]")),
    (
        b"import",
        re.compile(
            rb"(?:import_module|__import__)\s*\([^)]*['\"](?:timm|torchvision|monai)['\".]",
            re.DOTALL,
        ),
    ),
    (b"monai", re.compile(rb"\bmonai\s*(?:[,;.#\\]|$|as\b|import\b)", re.MULTILINE)),
    (b"hub.load", None),
    (b"torch.hub", None),
    (b"segmentation_models_pytorch", None),
    (b"pytorchcv", None),
    (b"timm.layers", (b"NormAct", b"NonLocalAttn", b"GatherExcite", b"MultiQuery", b"SelectiveK")),
    (b"efficientnet_pytorch", None),
    (b"pretrainedmodels", None),
    (b"open_clip", None),
    (b"clip.load(", None),
    (b"fastai", None),
    (b"facenet_pytorch", None),
    (b"ultralytics", None),
    (b"detectron2", (b"build_model", b"backbone", b"model_zoo.get(", b"DefaultPredictor")),
    (b" mm", re.compile(rb" mm(?:det|seg|cls|pretrain|pose|action|engine)\b")),
    (b"lightly", re.compile(rb"\blightly\s*[.,;]|\blightly\s+(?:as|import)\b")),
    (b"torchxrayvision", None),
    (b"geffnet", None),
    (b"effdet", None),
    (b"bncodemod:", None),
)

# Most files that import transformers do so for models of language, and its own name it in examples.
_IMPORTED = (b"from transformers", b"import transformers", b", transformers")
_TRANSFORMERS = re.compile(rb"[\r\n;][ \t]*(?:from|import)\b[^\r\n#]*\btransformers\b")

# Where models may be called under the transforms of torch.func or of what came before it.
_TRANSFORMS: _Tokens = (
    (b"vmap", None),
    (b"torch.func", re.compile(rb"\btorch\.func\b")),
    (b"functorch", None),
    (b"autograd.functional", None),
)


# Where weights may be loaded into models: by a method, or tensor by tensor.
_LOADS: _Tokens = (
    (b".load_state_dict", None),
    (b".load_from_checkpoint(", None),
    (b"ckpt_path", (b".fit(", b".test(", b".validate(", b".predict(")),
    (b"resume_from_checkpoint", (b"lightning",)),
    (b".load_state(", (b"accelerator",)),
    (b"load(", (b"fabric",)),
    (b"load_model", (b"safetensors",)),
    (b"load_checkpoint", (b"accelerate", b"mmcv", b"mmengine", b"timm")),
    (b"load_objects", (b"ignite",)),
    (b"set_model_state_dict", None),
    (b".state_dict()", (b".copy_(", b".set_(")),
    (b"functional_call", (b"load",)),
)


def may_define_norm(data: bytes) -> bool:
    """Whether other files may take a norm from a file with these bytes."""
    return INSTANCE_NORM in data or may_hold_site(data, EMPTY_INDEX)


def may_hold_site(data: bytes, index: ProjectIndex) -> bool:
    """Whether a site, a hazard or a suppression comment may stand in these bytes."""
    return (
        index.has_demands
        or _found(data, _TOKENS)
        or _names_model_of_transformers(data)
        or any(word.encode() in data for word in index.words)
    )


def may_load_weights(data: bytes) -> bool:
    """Whether weights may be loaded into a model in these bytes."""
    return _found(data, _LOADS)


def may_hold_transform(data: bytes) -> bool:
    """Whether a model may be called under a transform in these bytes."""
    return _found(data, _TRANSFORMS)


def _names_model_of_transformers(data: bytes) -> bool:
    return (
        any(spelled in data for spelled in _IMPORTED)
        and (data.startswith(_IMPORTED) or _TRANSFORMERS.search(data) is not None)
        and any(word in data for word in MODEL_WORDS)
    )


def _found(data: bytes, tokens: _Tokens) -> bool:
    for token, further in tokens:
        if token in data:
            if further is None:
                return True
            if isinstance(further, tuple):
                if any(other in data for other in further):
                    return True
            elif further.search(data):
                return True
    return False
