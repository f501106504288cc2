"""What one would write with LibCST alone: direct calls of batch norm, found by qualified name.

``python benchmarks/libcst_codemod.py [--prefilter] DIR`` rewrites in memory and prints how many
calls it changed in how many files. ``--prefilter`` parses only files that hold ``BatchNorm``.
"""

from __future__ import annotations

import pathlib
import sys

import libcst as cst
from libcst.metadata import MetadataWrapper, QualifiedNameProvider

CLASSES = [f"{kind}BatchNorm{n}d" for kind in ("", "Lazy") for n in (1, 2, 3)] + ["SyncBatchNorm"]
MODULES = ("torch.nn", "torch.nn.modules", "torch.nn.modules.batchnorm")
NAMES = {f"{module}.{name}" for module in MODULES for name in CLASSES}
FLAG = "track_running_stats"


class NoRunningStats(cst.CSTTransformer):
    """Appends ``track_running_stats=False`` to every direct call."""

    METADATA_DEPENDENCIES = (QualifiedNameProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.changed = 0

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        found = self.get_metadata(QualifiedNameProvider, original_node.func, set())
        if not any(name.name in NAMES for name in found):
            return updated_node
        if any(arg.keyword and arg.keyword.value == FLAG for arg in updated_node.args):
            return updated_node
        self.changed += 1
        equal = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
        flag = cst.Arg(cst.Name("False"), keyword=cst.Name(FLAG), equal=equal)
        return updated_node.with_changes(args=[*updated_node.args, flag])


def rewrite(data: bytes) -> tuple[bytes, int]:
    transformer = NoRunningStats()
    module = MetadataWrapper(cst.parse_module(data), unsafe_skip_copy=True).visit(transformer)
    return module.bytes, transformer.changed


def main(arguments: list[str]) -> int:
    prefilter = "--prefilter" in arguments
    (folder,) = (argument for argument in arguments if not argument.startswith("-"))
    calls = files = parsed = 0
    for path in sorted(pathlib.Path(folder).rglob("*.py")):
        data = path.read_bytes()
        if prefilter and b"BatchNorm" not in data:
            continue
        parsed += 1
        _, changed = rewrite(data)
        calls += changed
        files += changed > 0
    print(f"{parsed} files parsed, {calls} calls changed in {files} files")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
