"""What ``explain`` says of verdicts, checks and causes: the page of each, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bncodemod.verify.model import Cause, Check, Verdict

_VERDICTS = {
    Verdict.VERIFIED: """\
The line built a norm that ran under vmap, and vmap's answer was the loop's.

Some model that was built from the module reaches the line and passes every check that applies to
it, on the device that the report names. `-v` shows the model, the checks and the inputs.
""",
    Verdict.FAILED: """\
A norm that the line built is at fault, or something else stood in vmap's way.

The report names the check and the cause. Causes that are the norm's own: running-stats,
differs-from-loop, differs-from-original, constant-output, leaked-buffer, samples-depend,
batch-folded-into-channels; of what runtime-patch and eval-mode write: statistics-lost,
in-train-mode, mode-not-restored. The others say that vmap fails at another line, which the report
names; the norm itself is then neither shown to run nor to fail. `--trace` shows the raw traceback.
""",
    Verdict.NOT_REACHED: """\
Nothing that could be built runs the line, or what runs it could not be checked.

The report says why: the module could not be imported, the class could not be built for want of an
argument, no input was found that its forward takes, or nothing that was built uses the line. A call
that removes or renames files ends in ChangesFiles: give an example of one that does not, or build
the model in a function of its own.

By hand: say how to build and feed it in pyproject.toml, or in a Python file of examples
(docs/verify.md):
    [[tool.bncodemod.verify.example]]
    name = "Decoder"
    arguments = "64, depth=3"
    inputs = [[2, 64, 16, 16]]
""",
}

_CHECKS = {
    Check.META_VMAP: "vmap over the model on the meta device raises nothing: no numbers, in"
    " milliseconds.",
    Check.FORWARD: "The model runs in train mode on the device, without vmap.",
    Check.VMAP: "vmap over a batch of batches gives what a loop over the batches gives.",
    Check.GRAD: "vmap(grad) over samples gives the gradients that a loop over them gives.",
    Check.ENSEMBLE: "Several models stacked (stack_module_state, functional_call) give under vmap"
    " what each gives alone.",
    Check.SINGLE: "A batch of one sample runs. That it does not is noted: batch norm wants several"
    " values per channel.",
    Check.EVAL: "vmap gives what the loop gives in eval mode too.",
    Check.BUFFERS: "vmap leaves no tensor of its own in a buffer or an attribute.",
    Check.CONSTANT: "No norm gives the same whatever goes in, as GroupNorm does with one value per"
    " group.",
    Check.INDEPENDENCE: "GroupNorm: what comes out for a sample does not depend on the others, as"
    " per-sample gradients and DP-SGD need it.",
    Check.ORIGINAL_FAILS: "The original fails with the running-stats error where the rewritten"
    " model passes: the rewrite was needed, and it is what helped.",
    Check.STATE_DICT: "Which keys of the state dict the rewrite lost or gained: a checkpoint loads"
    " strictly only if there are none.",
    Check.BIT_IDENTICAL: "no-running-stats: in train mode the outputs are those of the original,"
    " bit for bit.",
    Check.KEPT_STATE: "keep-statistics: the patched norms have the keys and the values in their"
    " state dict that they had before: checkpoints load as ever.",
    Check.KEPT_EVAL: "keep-statistics: in eval mode the outputs are those of the model before the"
    " patch, bit for bit, with statistics that are not a new norm's.",
    Check.GROUPED: "--patch group-norm: GroupNorms have taken the place of all batch norms of"
    " three or more channels in the model.",
    Check.EVAL_MODE: "eval-mode: what runs in the block runs in eval mode, under vmap or whatever"
    " transform is called there.",
    Check.RESTORED: "eval-mode: behind the block, every module is in the mode that it was in; so it"
    " is after an exception, and frozen parts of a model stay frozen.",
}

_CAUSES = {
    Cause.RUNNING_STATS: """\
A norm updates running statistics, which vmap refuses.

In train mode `running_mean` and `running_var` are updated in place; under vmap the input is
batched and they are not.

By hand: pass `track_running_stats=False` where the norm is built, or use GroupNorm; for a model of
a library, `torch.func.replace_all_batch_norm_modules_(model)` once it is built.
""",
    Cause.DIFFERS: """\
vmap gives another answer than a loop does.

Beyond what the order of additions explains: the report states the tolerance. Usual reasons: code
that looks at shapes or at a batch axis by number, state kept between calls, a norm over the wrong
axis.
""",
    Cause.CHANGED: """\
The rewritten model gives another answer in train mode than the original.

no-running-stats promises the same bits. Where weights are drawn in the constructor, both are given
the same ones before they are compared.
""",
    Cause.CONSTANT: """\
A norm gives the same output whatever goes in: the features are gone.

GroupNorm with as many groups as channels normalises a single value per group on (N, C) inputs and
on 1x1 maps, and returns its bias. With two values per group all that is left is a sign.

By hand: fewer groups (`--groups`, `--min-group-size`), or no-running-stats for this layer.
""",
    Cause.LEAK: """\
After vmap, a buffer or an attribute holds a tensor that is of no use outside of it.

A buffer that is reassigned under vmap (`self.m = …`) raises nothing and leaves a dead tensor; the
next call fails, or is wrong. The report names the line of the assignment. So it is with what a hook
appends to a list: the report then names the line that uses it in a later call.

By hand: return the value from forward, or do not update it in train mode.
""",
    Cause.DEPENDENT: """\
What comes out for a sample depends on the other samples, although the norm is a GroupNorm.

A norm that mixes the samples makes the site fail: a batch norm that is left, or a statistic over
axis 0 in a norm of the project's own. Where another layer mixes them, as attention over the batch
does, the result is noted: the norm is not to blame.
""",
    Cause.RANDOMNESS: """\
The model draws random numbers, which vmap refuses unless it is told how.

By hand: `vmap(…, randomness="different")` for a draw per element, `"same"` for one for all; or
dropout of 0.

No norm is at fault: a site whose model runs when vmap is told is verified, and the summary says
where the model draws, and what to tell vmap. Random layers are on for that run, so that what else
fails in them is found; they are off where answers are compared.
""",
    Cause.STOCHASTIC_DEPTH: """\
StochasticDepth draws random numbers, into a tensor that may not be batched.

torchvision's makes that tensor with `torch.empty`, and works with `randomness="same"` only. As with
dropout, no norm is at fault, and the summary says where it is and what to tell vmap.

By hand: `randomness="same"`, or build the model with a drop rate of 0.
""",
    Cause.ITEM: """\
A plain number is taken out of a tensor: `.item()`, `float(x)`, `.tolist()`, `.numpy()`.

Under vmap a tensor stands for many values, so there is no one number.

By hand: keep it a tensor.
""",
    Cause.CONTROL_FLOW: """\
An `if` or `while` asks a tensor.

By hand: `torch.where(condition, a, b)`, or decide by shapes and arguments.
""",
    Cause.DYNAMIC_SHAPE: """\
The shape of a result depends on the values: boolean masks, `nonzero`, `unique`.

By hand: `torch.where`, or multiply by the mask.
""",
    Cause.IN_PLACE: """\
A batched tensor is written into one that is not.

`torch.zeros(…)` inside forward makes a plain tensor; `out[:, i] = x` then has nowhere to put the
many values.

By hand: `x.new_zeros(…)`, `torch.stack`, or the form of the operation that is not in place.
""",
    Cause.RNN: """\
vmap has no rule for nn.LSTM, nn.GRU and nn.RNN.

By hand: unroll the cells (nn.LSTMCell), or keep the layer outside of vmap.
""",
    Cause.CHECKPOINT: """\
Gradient checkpointing (torch.utils.checkpoint) does not run below torch.func's gradients.

It saves tensors by hooks, which `grad`, `vjp`, `jacrev` and `hessian` refuse. vmap alone runs.

By hand: build the model without checkpointing where torch.func takes its gradients.
""",
    Cause.FUNCTION: """\
torch.func does not run a `torch.autograd.Function` of the older form.

It wants `setup_context` beside a `forward` without `ctx`, and vmap a rule: `generate_vmap_rule =
True` in the class, or a `vmap` method.

By hand: write the Function so, or build the model without it: activations that save memory often
have a plain form.
""",
    Cause.NO_RULE: """\
vmap has no rule for an operator that the model calls.

By hand: another operator, or keep it outside of vmap.
""",
    Cause.CHANNELS_LAST: """\
Under vmap, torch does not take tensors in the memory format channels_last.

They cannot be put into it there, and GroupNorm does not run on those that are in it.

By hand: leave the memory format out; for GroupNorm, also by `--strategy no-running-stats`.
""",
    Cause.SINGLE_SAMPLE: """\
A norm has one value per channel to normalise.

Batch norm needs more in train mode and, without running statistics, in eval mode too: a batch of
one on (N, C) inputs or 1x1 maps raises.

By hand: batches of two, or GroupNorm for this layer.
""",
    Cause.STRIDED: """\
Under vmap, torch gives a batch norm a wrong gradient where what comes back to it is not contiguous.

That is so behind a transpose and then a matrix product or a convolution, for batches of one, as
per-sample gradients have them (measured with torch 2.13). Nothing is raised; the model's answers
are right, and so are its gradients without vmap.

By hand: `x = x.flatten().view(x.shape)` behind the norm, or GroupNorm.
""",
    Cause.BROKEN: """\
The original can be built and run, and what the rewrite made of it cannot.

Code that reads `running_mean` of a norm without statistics is an example.

By hand: undo the rewrite of this line, or ignore it, and report it to bncodemod.
""",
    Cause.BATCH_FOLDED: """\
Batch and channels are folded into one axis before a norm, so that it normalises across samples.

By hand: normalise before folding, or build the norm for the channels alone.
""",
    Cause.STATISTICS: """\
A patch that is to keep running statistics drops or changes them.

Then pretrained weights no longer load strictly, or eval mode answers otherwise than before.

By hand: set `track_running_stats = False` on the norms and nothing else, as the helper does that
`--patch keep-statistics` writes.
""",
    Cause.UNGROUPED: """\
A model that is patched with GroupNorms still holds batch norms.

They are of a class with a forward of its own, which the helper leaves alone: their samples depend
on each other, as in every batch norm.

By hand: give the model another norm where it is built (`norm_layer`), or replace these layers.
""",
    Cause.TRAIN_MODE: """\
A module runs in train mode in a block that is to put it into eval mode.

The block names another model than the one that runs, or the helper leaves a part of it out.

By hand: call `.eval()` on the whole of the model that runs.
""",
    Cause.MODE: """\
Behind a block that puts a model into eval mode, some module is in another mode than before.

A plain `model.train()` unfreezes what was frozen; without `try` and `finally` an exception leaves
the model in eval mode.

By hand: note `module.training` for every module, and set it again in `finally`.
""",
    Cause.MEMORY: """\
It needed more memory than it was given.

By hand: `--memory`, or an example with smaller arguments or inputs.
""",
    Cause.TIMEOUT: """\
Building or running it took longer than `--timeout`.

The worker process was ended; the rest of the module was examined by another one. A check beyond
`meta-vmap`, `forward` and `vmap` that takes too long, or too much memory, is left out: the line may
be verified by the others, and the report names it.

By hand: `--timeout`, or an example with smaller arguments or inputs.
""",
    Cause.CRASH: """\
The worker process died: a segmentation fault, an abort, `os._exit`.

The rest of the module was examined by another one. `--trace` shows the last frames where they are
known.
""",
    Cause.OTHER: """\
An error that the verifier does not know by name; the message is the error's own.

`--trace` shows the raw traceback.
""",
}

PAGES: Mapping[str, str] = MappingProxyType(
    {
        **{verdict.value.replace(" ", "-"): page for verdict, page in _VERDICTS.items()},
        **{check.value: f"Check: {page}\n" for check, page in _CHECKS.items()},
        **{cause.value: page for cause, page in _CAUSES.items()},
    }
)
