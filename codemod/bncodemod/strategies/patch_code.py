"""What the emitted code calls to patch a model that is built: torch's function, or a helper."""

from __future__ import annotations

import ast
import textwrap

from bncodemod.strategies.context import Context
from bncodemod.strategies.groups import rule_code
from bncodemod.strategies.patches import GROUP, KEEP, TORCH

TORCH_HOMES = (
    "torch.func",
    # Where it was before; the rule for old imports moves these.
    "functorch.experimental",
    "functorch.experimental.batch_norm_replacement",
    "functorch",
)
_NORM = "torch.nn.modules.batchnorm._BatchNorm"


def patcher(context: Context, kind: str, at: ast.AST) -> str:
    """How the function that makes a patch is written at a node; it is added where it is missing."""
    if kind == "replace":
        return _torch(context, at)
    wanted = KEEP if kind == "keep-statistics" else GROUP
    imports = context.imports
    top = imports.top_level(at)
    standing = context.names.function(wanted, before=top)
    if standing is not None and is_helper(standing):
        return wanted
    if kind == "keep-statistics":
        return imports.helper(
            wanted, at, lambda name: _keep_code(name, imports.name_for(_NORM, top))
        )
    return imports.helper(wanted, at, lambda name: _group_code(context, name, top))


def is_helper(function: ast.AST) -> bool:
    """Whether a function is one of the helpers, which hold norms' names of their own."""
    if not isinstance(function, ast.FunctionDef) or function.name.lstrip("_") not in (KEEP, GROUP):
        return False
    return [argument.arg for argument in function.args.args] == ["model"]


def _torch(context: Context, at: ast.AST) -> str:
    """``replace_all_batch_norm_modules_`` by an import of its own; ``torch.func.`` is not short."""
    for home in TORCH_HOMES:
        written = context.imports.existing(f"{home}.{TORCH}", at)
        if written and not written.startswith(("torch.", "functorch.")):
            return written
    return context.imports.add(f"torch.func.{TORCH}", at)


def _keep_code(name: str, norm: str) -> str:
    return f'''\
def {name}(model):
    """Stop the batch norms of ``model`` from updating their statistics; return ``model``.

    In train mode they use those of the batch, so that vmap runs; in eval mode those they have.
    """
    for module in model.modules():
        if isinstance(module, {norm}):
            module.track_running_stats = False
    return model
'''


def _group_code(context: Context, name: str, top: ast.stmt) -> str:
    batch_norm, sync, group_norm = (
        context.imports.name_for(f"torch.nn.{norm}", top)
        for norm in ("BatchNorm2d", "SyncBatchNorm", "GroupNorm")
    )
    base = context.imports.name_for(_NORM, top)
    warn = context.imports.add("warnings.warn", top)
    rule, body = rule_code(context.settings)
    return f'''\
def {name}(model):
    """Put GroupNorms in the place of the batch norms inside ``model``; return ``model``.

    {rule}
    Weights, eps, mode and hooks are kept, and a norm that is shared stays shared. Batch norms with
    one or two channels go on without statistics, and so do those of classes with a forward of their
    own, other than timm's with an activation; a warning names such classes.
    """

    def group_norm(norm):
        num_features = norm.num_features
{textwrap.indent(body, "    ")}
        if type(norm).forward in plain:
            made = {group_norm}(
                num_groups, num_features, eps=norm.eps, affine=norm.affine
            )
        else:
            from timm.layers import GroupNormAct

            made = GroupNormAct(num_features, num_groups, eps=norm.eps, affine=norm.affine)
            made.drop, made.act = norm.drop, norm.act
        made.weight, made.bias = norm.weight, norm.bias
        hooks = {{key: value for key, value in vars(norm).items() if "_hook" in key}}
        vars(made).update(hooks)
        return made.train(norm.training)

    def is_known(norm):
        is_of_timm = type(norm).__module__.startswith("timm.") and hasattr(norm, "act")
        return type(norm).forward in plain or is_of_timm

    batch_norm = {base}
    plain = ({batch_norm}.forward, {sync}.forward)
    made = {{}}
    for parent in list(model.modules()):
        for name, norm in list(parent._modules.items()):
            if isinstance(norm, batch_norm) and norm.num_features > 2 and is_known(norm):
                if norm not in made:
                    made[norm] = group_norm(norm)
                setattr(parent, name, made[norm])
    norms = [module for module in model.modules() if isinstance(module, batch_norm)]
    left = {{type(norm).__name__ for norm in norms if norm.num_features not in (1, 2)}}
    if left:
        {warn}("no GroupNorm takes the place of " + ", ".join(sorted(left)))
    return {_torch(context, top)}(model)
'''
