"""Files in, files out: what is kept, what is refused. Torch runs for real."""

from __future__ import annotations

import argparse
import copy
import json
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bncodemod.cli import main

torch = pytest.importorskip("torch")
nn = torch.nn

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


class OwnStatistics(nn.Module):  # type: ignore[misc, name-defined]
    """A module with buffers of those names that is no norm."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(3))
        self.linear = nn.Linear(3, 3)


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False), OwnStatistics()
    )


def kept_keys(state: Any) -> list[str]:
    return [k for k in state if k.startswith("3.") or k.rpartition(".")[2] not in BUFFERS]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str, strategy: str = "no-running-stats") -> Result:
    words = ["migrate-checkpoint", "--strategy", strategy, *args]
    result = CliRunner().invoke(main, words, prog_name="bncodemod")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.stderr
    assert not [name for name in os.listdir() if name.startswith(".bncodemod")], "litter"
    return result


def migrated(checkpoint: Any, *args: str, **options: Any) -> Any:
    torch.save(checkpoint, "in.pth", **options)
    before = Path("in.pth").read_bytes()
    result = run("in.pth", "out.pth", *args)
    assert result.exit_code == 0, result.stderr
    assert Path("in.pth").read_bytes() == before
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load("out.pth", weights_only=True)


def same(one: Any, other: Any) -> bool:
    """Whether two tensors are equal in all that a file can tell."""
    alike = (one.dtype, one.shape, one.stride()) == (other.dtype, other.shape, other.stride())
    return alike and torch.equal(one, other)


# --- torch files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_state_dict_keeps_all_but_the_statistics(folder: Path, zipped: bool) -> None:
    state = network().to(memory_format=torch.channels_last).state_dict()
    state["0.bias"] = state["0.bias"].to(torch.bfloat16)
    after = migrated(state, _use_new_zipfile_serialization=zipped)
    assert list(after) == kept_keys(state)
    assert "3.running_mean" in after
    assert all(same(after[key], state[key]) for key in after)
    assert after["0.weight"].is_contiguous(memory_format=torch.channels_last)
    assert type(after) is OrderedDict
    assert after._metadata == state._metadata


def test_state_dicts_are_found_inside(folder: Path) -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    model[0](torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    average = torch.optim.swa_utils.AveragedModel(model)
    parallel = nn.DataParallel(model)
    checkpoint = {
        "state_dict": model.state_dict(),
        "ema": {"shadow": [average.state_dict()]},
        "parallel": parallel.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, running_mean="no tensor"),
        "history": [(0, 1.5), (1, 1.25)],
    }
    expected = copy.deepcopy(checkpoint)
    after = migrated(checkpoint)
    assert list(after) == list(expected)
    assert list(after["state_dict"]) == kept_keys(expected["state_dict"])
    assert "n_averaged" in after["ema"]["shadow"][0]
    for place in (after["ema"]["shadow"][0], after["parallel"]):
        assert {k for k in place if k.endswith(BUFFERS)} == {"module.3.running_mean"}
    for key in ("epoch", "args", "history"):
        assert after[key] == expected[key]
    optimizer.load_state_dict(after["optimizer"])
    assert pickle.dumps(after["optimizer"]["param_groups"]) == pickle.dumps(
        expected["optimizer"]["param_groups"]
    )


def test_values_of_training_scripts_are_let_through(folder: Path) -> None:
    numpy = pytest.importorskip("numpy")
    checkpoint = {
        "model": network().state_dict(),
        "best": numpy.float64(0.3),
        "seen": numpy.int64(7),
        "random": numpy.random.get_state(),
        "out": Path("runs/1"),
    }
    torch.save(checkpoint, "in.pth")
    assert run("in.pth", "out.pth").exit_code == 0
    after = torch.load("out.pth", weights_only=False)
    assert list(after["model"]) == kept_keys(checkpoint["model"])
    for key in ("best", "seen", "out"):
        assert (after[key], type(after[key])) == (checkpoint[key], type(checkpoint[key]))
    assert (after["random"][1] == checkpoint["random"][1]).all()


@pytest.mark.parametrize(
    ("new", "old"), [(b"numpy._core.", b"numpy.core."), (b"pathlib\n", b"pathlib._local\n")]
)
def test_values_of_other_versions_are_let_through(folder: Path, new: bytes, old: bytes) -> None:
    """By the names that numpy 1 and Python 3.13 give to the same classes."""
    numpy = pytest.importorskip("numpy")
    values = {"best": numpy.float64(0.3), "out": Path("runs/1")}
    torch.save(
        {"model": network().state_dict(), **values}, "in.pth", _use_new_zipfile_serialization=False
    )
    data = Path("in.pth").read_bytes()
    assert new in data or old in data
    Path("in.pth").write_bytes(data.replace(new, old))
    assert run("in.pth", "out.pth").exit_code == 0
    after = torch.load("out.pth", weights_only=False)
    assert {key: after[key] for key in values} == values


def test_arrays_of_objects_are_refused(folder: Path) -> None:
    numpy = pytest.importorskip("numpy")
    torch.save({"model": network().state_dict(), "all": numpy.array([Foreign()])}, "in.pth")
    assert run("in.pth", "out.pth").exit_code == 2


def test_tensors_that_share_memory_still_do(folder: Path) -> None:
    state = network().state_dict()
    state["tied"] = state["0.weight"]
    state["view"] = state["0.weight"][1:]
    both = {"model": state, "same": state}
    after = migrated(both)
    model = after["model"]
    assert after["same"] is model
    assert model["tied"].data_ptr() == model["0.weight"].data_ptr()
    assert model["view"].untyped_storage().data_ptr() == model["tied"].untyped_storage().data_ptr()


def test_what_was_dropped_is_said(folder: Path) -> None:
    torch.save({"model": network().state_dict()}, "in.pth")
    result = run("in.pth", "out.pth", strategy="group-norm")
    assert result.stdout == (
        "dropped the running statistics of 2 norms in model:\n"
        "  1: running_mean, running_var, num_batches_tracked\n"
        "  2: running_mean, running_var, num_batches_tracked\n"
        "kept in model: 3: a norm has both running_mean and running_var\n"
        "wrote out.pth\n"
    )
    assert "Warning: weight and bias of 1 norm are kept" in result.stderr
    patched = run("in.pth", "patched.pth", "--keep", "2", strategy="runtime-patch")
    assert "Warning: after --patch group-norm, weight and bias of 1 norm" in patched.stderr
    quiet = run("in.pth", "again.pth", "--quiet", strategy="no-running-stats")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_norms_that_the_rewrite_left_are_kept(folder: Path) -> None:
    after = migrated(network().state_dict(), "--keep", "1")
    assert {k for k in after if k.endswith(BUFFERS)} == {
        "1.running_mean", "1.running_var", "1.num_batches_tracked", "3.running_mean"
    }  # fmt: skip


def test_a_model_of_which_some_norms_are_rewritten_loads_strictly(folder: Path) -> None:
    model, other = network(), network()
    torch.func.replace_all_batch_norm_modules_(other[1])
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, "in.pth")
    torch.save(nn.DataParallel(other).state_dict(), "new.pth")
    result = run("in.pth", "out.pth", "--like", "new.pth", strategy="auto")
    assert result.exit_code == 0, result.stderr
    assert "kept in state_dict: 2: --like has it" in result.stdout
    after = torch.load("out.pth", weights_only=True)
    assert after["epoch"] == 3
    with pytest.raises(RuntimeError, match=r"Unexpected key.*1\.running_mean"):
        other.load_state_dict(model.state_dict())
    other.load_state_dict(after["state_dict"])
    assert torch.equal(other[2].running_var, model[2].running_var)


def test_what_keeps_all_statistics_needs_no_migration(folder: Path) -> None:
    torch.save(network().state_dict(), "in.pth")
    result = run("in.pth", "out.pth", "--like", "in.pth", strategy="runtime-patch")
    assert result.exit_code == 1
    assert "loads as it is" in result.stderr
    result = run("in.pth", "out.pth", strategy="eval-mode")
    assert result.exit_code == 2
    assert "loads as it is" in result.stderr
    assert not Path("out.pth").exists()


def test_which_norms_are_rewritten_has_to_be_said(folder: Path) -> None:
    torch.save(network().state_dict(), "in.pth")
    result = run("in.pth", "out.pth", strategy="auto")
    assert result.exit_code == 2
    assert "--like" in result.stderr
    after = run("in.pth", "out.pth", "--keep", "2", strategy="auto")
    assert after.exit_code == 0, after.stderr


def test_another_model_is_refused(folder: Path) -> None:
    torch.save(network().state_dict(), "in.pth")
    torch.save(network()[:2].state_dict(), "new.pth")
    result = run("in.pth", "out.pth", "--like", "new.pth", strategy="auto")
    assert result.exit_code == 2
    assert "is not in --like" in result.stderr
    assert not Path("out.pth").exists()


def test_safetensors_may_be_held_against_a_torch_file(folder: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    model, other = network(), network()
    torch.func.replace_all_batch_norm_modules_(other[1])
    safetensors.save_file(model.state_dict(), "in.safetensors")
    torch.save(other.state_dict(), "new.pth")
    result = run("in.safetensors", "out.safetensors", "--like", "new.pth", strategy="auto")
    assert result.exit_code == 0, result.stderr
    assert safetensors.load_file("out.safetensors").keys() == other.state_dict().keys()


# --- safetensors ----------------------------------------------------------------------------------


def test_safetensors_keep_metadata_order_and_types(folder: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    state = dict(network().state_dict())
    state["half"] = torch.arange(6, dtype=torch.bfloat16).view(2, 3)
    state["flags"] = torch.tensor([True, False, True])
    state["empty"] = torch.zeros(0, 4)
    metadata = {"format": "pt", "name": "Größe"}
    safetensors.save_file(state, "in.safetensors", metadata=metadata)
    assert run("in.safetensors", "out.safetensors").exit_code == 0
    with safetensors.safe_open("out.safetensors", "pt") as file:
        assert file.metadata() == metadata
    after = safetensors.load_file("out.safetensors")
    assert sorted(after) == sorted(kept_keys(state))
    assert all(same(after[key], state[key]) for key in after)
    length = struct.unpack("<Q", Path("out.safetensors").read_bytes()[:8])[0]
    assert length % 8 == 0


def raw(header: Any, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_safetensors_need_neither_torch_nor_their_package(folder: Path) -> None:
    keys = {"bn.running_mean": [8], "bn.running_var": [8], "bn.num_batches_tracked": [], "w": [2]}
    header, end = {}, 0
    for key, shape in keys.items():
        size = 8 if not shape else 4 * shape[0]
        header[key] = {"dtype": "F99", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    Path("in.safetensors").write_bytes(raw(header, bytes(range(end))))
    program = (
        "import sys; sys.modules['torch'] = sys.modules['safetensors'] = None\n"
        "from bncodemod.cli import main\n"
        "main(['migrate-checkpoint', 'in.safetensors', 'out.safetensors',"
        " '--strategy', 'group-norm'])"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ)
    after = Path("out.safetensors").read_bytes()
    length = struct.unpack("<Q", after[:8])[0]
    assert json.loads(after[8 : 8 + length]) == {
        "w": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}
    }
    assert after[8 + length :] == bytes(range(end - 8, end))


@pytest.mark.parametrize(
    "data",
    [
        raw(b"{not json", b""),
        raw({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
        raw({"w": {"dtype": "F32", "shape": [2], "data_offsets": [4, 8]}}, b"12345678"),
        raw({"w": {"dtype": "F32"}}, b""),
        raw({"w": 3}, b""),
        raw({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}, b"1234"),
        raw({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, b""),
        raw({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, "x"]}}, b"1234"),
        raw({"w": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}}, b"1234"),
        raw({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
    ],
)
def test_damaged_safetensors_are_refused(folder: Path, data: bytes) -> None:
    Path("in.safetensors").write_bytes(data)
    result = run("in.safetensors", "out.safetensors")
    assert result.exit_code == 2
    assert "damaged" in result.stderr


# --- what is refused ------------------------------------------------------------------------------


def test_the_input_is_never_overwritten(folder: Path) -> None:
    torch.save(network().state_dict(), "in.pth")
    before = Path("in.pth").read_bytes()
    Path("link.pth").symlink_to("in.pth")
    os.link("in.pth", "hard.pth")
    for target in ("in.pth", "link.pth", "hard.pth"):
        result = run("in.pth", target, "--force")
        assert result.exit_code == 2
        assert "the input" in result.stderr
    assert Path("in.pth").read_bytes() == before


def test_an_existing_file_is_replaced_only_if_told(folder: Path) -> None:
    torch.save(network().state_dict(), "in.pth")
    Path("out.pth").write_text("precious")
    result = run("in.pth", "out.pth")
    assert (result.exit_code, Path("out.pth").read_text()) == (2, "precious")
    assert "--force" in result.stderr
    assert run("in.pth", "out.pth", "--force").exit_code == 0
    assert torch.load("out.pth", weights_only=True)


def test_nothing_to_drop_writes_nothing(folder: Path) -> None:
    torch.save({"model": OwnStatistics().state_dict()}, "in.pth")
    result = run("in.pth", "out.pth")
    assert result.exit_code == 1
    assert "nothing to drop" in result.stderr
    assert not Path("out.pth").exists()


class Foreign:
    """What weights_only refuses."""


def test_what_cannot_be_read_is_said_with_a_remedy(folder: Path) -> None:
    torch.save({"model": network().state_dict(), "config": Foreign()}, "foreign.pth")
    torch.save(network(), "whole.pth")
    torch.jit.save(torch.jit.trace(network().eval()[:2], torch.zeros(1, 3, 8, 8)), "script.pth")
    torch.save(network().state_dict(), "cut.pth")
    Path("cut.pth").write_bytes(Path("cut.pth").read_bytes()[:-200])
    Path("text.pth").write_text("not a checkpoint")
    Path("empty.pth").write_bytes(b"")
    Path("folder").mkdir()
    expected = {
        "foreign.pth": "Foreign", "whole.pth": "torch.nn", "script.pth": "TorchScript",
        "cut.pth": "cannot read", "text.pth": "cannot read", "empty.pth": "cannot read",
        "folder": "is a folder", "missing.pth": "No such file",
    }  # fmt: skip
    for name, word in expected.items():
        result = run(name, "out.pth")
        assert result.exit_code == 2, name
        assert word in result.stderr, result.stderr
        assert "Warning" not in result.stderr
        assert not Path("out.pth").exists()
    assert "weights_only=False" in run("foreign.pth", "out.pth").stderr


def test_formats_are_not_converted(folder: Path) -> None:
    torch.save(network().state_dict(), "in.pth")
    result = run("in.pth", "out.safetensors")
    assert result.exit_code == 2
    assert "not converted" in result.stderr


def test_without_torch_the_remedy_is_said(folder: Path) -> None:
    torch.save(network().state_dict(), "in.pth")
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from bncodemod.cli import main\n"
        "main(['migrate-checkpoint', 'in.pth', 'out.pth', '--strategy', 'group-norm'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install torch" in done.stderr


def test_a_full_disk_leaves_nothing(folder: Path) -> None:
    """A limit on the size of files stands for the disk: the write fails half-way."""
    torch.save({"bn": nn.BatchNorm2d(8).state_dict(), "x": torch.zeros(100_000)}, "in.pth")
    program = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "import torch\n"
        "from bncodemod.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "main(['migrate-checkpoint', 'in.pth', 'out.pth', '--strategy', 'group-norm'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir()) == ["in.pth"]


def test_a_reader_sees_the_old_file_or_the_new(folder: Path) -> None:
    torch.save(network().state_dict(), "in.pth")
    Path("out.pth").write_bytes(Path("in.pth").read_bytes())
    sizes: set[int] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            sizes.add(os.path.getsize("out.pth"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        assert run("in.pth", "out.pth", "--force").exit_code == 0
    finally:
        done.set()
        thread.join()
    assert sizes <= {os.path.getsize("in.pth"), os.path.getsize("out.pth")}


def test_the_command_line_starts_without_torch() -> None:
    program = "import sys, bncodemod.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
