"""What a parameter's name says about its value: a table, read from the top.

The numbers fit each other: 64 channels divide by the usual numbers of heads and groups, and leave
something over when a squeeze divides them by 16.
"""

from __future__ import annotations

import re
from typing import Any

CHANNELS = 64


class Wanted:
    """Values that are not plain data: whoever reads the table makes them."""

    NORM = "a norm's class"
    ACTIVATION = "an activation's class"
    CONVOLUTION = "a convolution's class"
    BLOCK = "a block's class"
    BACKBONE = "a module that makes features of images"
    MODULE = "some module"
    SETTINGS = "an object that answers any name"


# The first pattern that matches the whole name, in lower case, counts. Values are copied.
_TABLE: tuple[tuple[str, Any], ...] = (
    (r"pretrained.*|.*weights.*|checkpoint.*|ckpt.*|.*(file|model|data|root|save)_?path|device|dtype|(down_?sample|short_?cut)",
     None),
    (r"(use|with|is|has|if|do|no|enable|return)_.*|.*bias|bn|progress|inplace|verbose", False),
    (r"(n|num|nb|number)_?(of_)?(cls|class|classes|labels?)|n?class(es)?|nclass|out_size", 10),
    (r"d_?model|n_?embd", CHANNELS),
    (r"norm|.*norm(_?(layer|func?|type|op|cls|class|module|act))?|bn_?layer|batch_?norm",
     Wanted.NORM),
    (r"act|.*(act(ivation)?(_?(layer|func?|fn|type|op|cls))?|non_?lin(earity)?|relu)",
     Wanted.ACTIVATION),
    (r"conv(_?(layer|op|func?|block|module|class))?", Wanted.CONVOLUTION),
    (r".*kernel(s|_?sizes?)?|ks?|ksize|patch", 3),
    (r".*strides?|s|d|rate|dilations?|dilate|dilation_rate|scale(_factor)?", 1),
    (r"pad|paddings?|p", 1),
    (r".*groups?|cardinality|card", 1),
    (r".*(num_?|n_?|att(entio)?n_?)?heads?", 4),
    (r".*(ratio|factor|expansions?|expand|multiplier|mult|alpha|beta|gamma|expand_rate)|t", 2),
    (r".*(reduction|reduce|red)|r", 4),
    (r"drop.*|.*(dropout|drop|drop_?path|drop_?rate|prob|survival).*", 0.0),
    (r"eps(ilon)?", 1e-5),
    (r"momentum|bn_mom(entum)?", 0.1),
    (r".*mode|.*type|.*name|version|arch|variant", ""),
    (r"(img|image|input|in|spatial|crop)_?(size|res|resolution|hw|shape)|resolution", 64),
    (r".*patch_?size|ps", 8),
    (r".*window_?size|ws|win_?size", 4),
    (r"fe?a?t?_?(map_?)?size|grid_?size|h|w|height|width|size|output_?size|out_?hw", 8),
    (r"seq_?len(gth)?|max_?len(gth)?|num_?patches|n_?tokens|block_?size|frames|num_?frames", 16),
    (r"vocab(ulary)?(_size)?|num_?(embeddings|tokens|embed|words)|n_?(vocab|tokens?|words)", 100),
    (r"(n|num|nb)_?(layers|blocks)", 2),
    (r"(.*_)?(layers|num_?blocks|depths|repeats|block_?(num|count|config)s?)", [2, 2, 2, 2]),
    (r"(n|num|nb)_?(layers?|blocks?|repeats?|convs?|stages?|units?|res)|depth|repeats?|n|level|num",
     2),
    (r"growth_?rate", 32),
    (r"sizes|.*(channels|dims|planes|filters|chans|chs|features|widths)_list", [CHANNELS] * 4),
    (r".*(ch|chs|channels?|chans?|planes?|filters?|dims?|features?|nc|c|width|hidden|size|units)",
     CHANNELS),
    (r".*(block|bottleneck|unit)(_?(type|fn|cls|class))?|.*_(cls|class|type|fn)", Wanted.BLOCK),
    (r"(.*_)?(fn|func|module|layer|cell|op|core)", Wanted.MODULE),
    (r".*(backbone|encoder|base_?model|body|trunk|net|network|model|extractor)", Wanted.BACKBONE),
    (r".*(cfgs?|config|conf|args|opts?|options|hparams|params|hp|settings|hyper.*)",
     Wanted.SETTINGS),
)  # fmt: skip
_PATTERNS = tuple((re.compile(pattern), value) for pattern, value in _TABLE)


def by_name(name: str, default: Any) -> Any:
    """The table's value for a parameter of this name, ``default`` where it has none."""
    plain = name.lower().strip("_0123456789") or name.lower()
    for pattern, value in _PATTERNS:
        if pattern.fullmatch(plain):
            return list(value) if isinstance(value, list) else value
    return default
