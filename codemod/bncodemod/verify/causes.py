"""From an exception to its cause: what it is called, the user's line, what to do about it."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import torch

from bncodemod.verify.model import Cause, Site
from bncodemod.verify.recorder import NORMS, sites_of
from bncodemod.verify.refusal import in_a_line


@dataclass(frozen=True, slots=True)
class Explained:
    """``sites`` are those of the norm in whose call the error arose."""

    cause: Cause
    message: str
    remedy: str = ""
    path: str = ""
    line: int = 0
    trace: str = ""
    sites: tuple[Site, ...] = ()


@dataclass(frozen=True)
class _Known:
    """An error that is known by its message and the file it comes from (regular expressions)."""

    cause: Cause
    message: str
    remedy: str
    where: str = ""


_IN_PLACE = (
    r"inplace arithmetic|vmap: .* is not possible because there exists a Tensor"
    r"|doesn't match the broadcast shape|would mutate a captured Tensor"
)

# The first that fits counts.
_TABLE: tuple[_Known, ...] = (
    _Known(
        Cause.RUNNING_STATS,
        r"Batch norm got a batched tensor as input while the running_mean or running_var",
        "pass track_running_stats=False where the norm is built, or use GroupNorm",
    ),
    _Known(
        Cause.RUNNING_STATS,
        rf"{_IN_PLACE}|\.item\(\)",
        "pass track_running_stats=False where the norm is built, or use GroupNorm",
        where=r"torch/nn/modules/batchnorm\.py$",
    ),
    _Known(
        Cause.STOCHASTIC_DEPTH,
        r"random operation|randomness",
        "call vmap with randomness='same', or build the model with a drop rate of 0",
        where=r"(?i)stochastic_?depth|drop_?path",
    ),
    _Known(
        Cause.RANDOMNESS,
        r"random operation|randomness",
        "call vmap with randomness='different' (a draw for each) or 'same' (one for all)",
    ),
    _Known(
        Cause.RNN,
        r"aten::(lstm|gru|rnn_tanh|rnn_relu|_thnn_fused_\w+|_cudnn_rnn|mkldnn_rnn_layer)"
        r"|Cannot access data pointer",
        "vmap has no rule for nn.LSTM, nn.GRU and nn.RNN: unroll their cells (nn.LSTMCell), or"
        " keep the layer out of vmap",
        where=r"torch/nn/modules/rnn\.py$",
    ),
    _Known(
        Cause.CHECKPOINT,
        r"support saved tensor hooks",
        "build the model without gradient checkpointing: torch.func transforms have no rule for it",
    ),
    _Known(
        Cause.LEAK,
        r"tensor may have escaped from inside a function being vmapped",
        "keep no tensor of a call in a list, a dict or an attribute that outlives it: return it",
    ),
    _Known(
        Cause.CHANNELS_LAST,
        r"querying is_contiguous inside of vmap for memory_format",
        "GroupNorm does not run on channels_last tensors under vmap: leave memory_format out, or"
        " rewrite with --strategy no-running-stats",
    ),
    _Known(
        Cause.CHANNELS_LAST,
        r"required rank \d tensor to use channels_last",
        "under vmap a tensor has an axis more than torch lets it have in this format: leave"
        " memory_format out",
    ),
    _Known(
        Cause.SINGLE_SAMPLE,
        r"Expected more than 1 (value per channel|spatial element) when training",
        "use two samples or more at a time, or GroupNorm with several channels in a group",
    ),
    _Known(
        Cause.CONTROL_FLOW,
        r"data-dependent control flow|Could not guard on data-dependent|Boolean value of Tensor",
        "use torch.where instead of `if` on a tensor",
    ),
    _Known(
        Cause.DYNAMIC_SHAPE,
        r"dynamic shape|torch\.nonzero\(\) raises unimplemented|aten::(nonzero|masked_select)",
        "the result's size depends on the data: use torch.where, or multiply by the mask",
    ),
    _Known(
        Cause.ITEM,
        r"\.item\(\)|item\(\) cannot be called|Cannot copy out of meta tensor"
        r"|Cannot access data pointer|aten::_local_scalar_dense|Can't call numpy",
        "keep the value a tensor: .item(), float(), .tolist() and .numpy() need plain values",
    ),
    _Known(
        Cause.IN_PLACE,
        r"would mutate a captured Tensor",
        "write out of place what torch.func takes no gradient of, as `self.steps = self.steps + 1`"
        " instead of `self.steps += 1`",
    ),
    _Known(
        Cause.IN_PLACE,
        _IN_PLACE,
        "write out of place, or make the tensor from one that vmap batches: x.new_zeros(...)"
        " instead of torch.zeros(...)",
    ),
    _Known(
        Cause.MEMORY,
        r"out of memory|can't allocate memory|Unable to allocate",
        "give smaller inputs in the examples; --memory is what a worker may have, not a GPU",
    ),
    _Known(
        Cause.FUNCTION,
        r"autograd\.Function|generate_vmap_rule",
        "give it setup_context and generate_vmap_rule = True, or build the model without it",
    ),
    _Known(
        Cause.NO_RULE,
        r"accessing `data` under vmap",
        "use x.detach() instead of x.data",
    ),
    _Known(
        Cause.NO_RULE,
        r"Batching rule not implemented for|vmap: we do not yet support|doesn't work on",
        "vmap has no rule for this operator: use others, or keep it out of vmap",
    ),
)


def explain(error: BaseException, roots: Sequence[str]) -> Explained:
    """The cause of an error, with the innermost line of the code below ``roots``."""
    text = str(error)
    known = _known(error, text)
    path, line = users_line(error.__traceback__, roots)
    return Explained(
        known.cause if known else Cause.OTHER,
        in_a_line(error).partition(". ")[0],  # the first sentence
        known.remedy if known else "",
        path,
        line,
        "".join(traceback.format_exception(error)),
        _norm_sites(error.__traceback__),
    )


def users_line(trace: TracebackType | None, roots: Sequence[str]) -> tuple[str, int]:
    """The file and line of the innermost frame that is the user's; ("", 0) if there is none."""
    found = "", 0
    for frame, line in traceback.walk_tb(trace):
        if is_users(frame.f_code.co_filename, roots):
            found = frame.f_code.co_filename, line
    return found


def is_users(path: str, roots: Sequence[str]) -> bool:
    """Whether a file lies below a root, and not in an environment that lies there too."""
    path = os.path.realpath(path)
    if is_torchs(path):
        return False
    for root in roots:
        folder = os.path.join(os.path.realpath(root), "")
        if path.startswith(folder):
            return not _ENVIRONMENT & set(path.removeprefix(folder).split(os.sep))
    return False


def is_torchs(path: str) -> bool:
    """Whether a file is one of torch's own."""
    return os.path.realpath(path).startswith(_TORCH)


_TORCH = os.path.join(os.path.realpath(os.path.dirname(torch.__file__)), "")
_ENVIRONMENT = {"site-packages", "dist-packages"}


def _known(error: BaseException, text: str) -> _Known | None:
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return next(known for known in _TABLE if known.cause is Cause.MEMORY)
    where = "\n".join(_places(error.__traceback__))
    for known in _TABLE:
        if re.search(known.message, text) and re.search(known.where, where, re.M):
            return known
    return None


def _places(trace: TracebackType | None) -> list[str]:
    """The files, functions and classes of the innermost frames."""
    return [
        f"{frame.f_code.co_filename.replace(os.sep, '/')}\n{frame.f_code.co_name}\n"
        f"{type(frame.f_locals.get('self')).__name__}"
        for frame, _ in list(traceback.walk_tb(trace))[-_NEAR:]
    ]


_NEAR = 3  # frames: the operator's own, the module's, and the function between them


def _norm_sites(trace: TracebackType | None) -> tuple[Site, ...]:
    """The sites of the norm whose forward the error went through."""
    for frame, _ in reversed(list(traceback.walk_tb(trace))):
        owner = frame.f_locals.get("self")
        if isinstance(owner, NORMS):
            return tuple(sites_of(owner))
    return ()
