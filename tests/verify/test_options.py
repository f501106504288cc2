"""[tool.bncodemod.verify]: what it may say, and how a mistake in it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from bncodemod.settings import ConfigurationError, load_configuration
from bncodemod.verify.model import Check, Example
from bncodemod.verify.options import Options, read_options


def read(folder: Path, text: str, **typed: object) -> Options:
    (folder / "pyproject.toml").write_text(text)
    return read_options(load_configuration([folder]), typed)


def test_nothing_is_said(tmp_path: Path) -> None:
    assert read(tmp_path, "[tool.bncodemod]\n") == Options()


def test_everything_is_said(tmp_path: Path) -> None:
    (tmp_path / "examples.py").write_text("")
    found = read(
        tmp_path,
        """
        [tool.bncodemod.verify]
        device = "cuda:1"
        timeout = 5
        module-timeout = 50.5
        memory = 2
        checks = ["vmap", "eval"]
        seed = 7
        require-coverage = 90
        examples = "examples.py"

        [[tool.bncodemod.verify.example]]
        name = "Net"
        arguments = "3, width=64"
        inputs = [[2, 3, 32, 32], "torch.arange(2)"]

        [[tool.bncodemod.verify.example]]
        name = "pkg.other:Net"

        [[tool.bncodemod.verify.example]]
        name = "src/net.py:Net"
        """,
        seed=8,
    )
    assert found == Options(
        device="cuda:1",
        timeout=5.0,
        module_timeout=50.5,
        memory=2.0,
        checks=frozenset({Check.VMAP, Check.EVAL}),
        seed=8,
        require_coverage=90.0,
        examples=str(tmp_path / "examples.py"),
        example=(
            Example("Net", "3, width=64", ((2, 3, 32, 32), "torch.arange(2)")),
            Example("pkg.other:Net"),
            Example(f"{tmp_path}/src/net.py:Net"),
        ),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("timeot = 3", 'timeot: unknown key; did you mean "timeout"?'),
        ("timeout = 0", "timeout: must be a number above 0, not 0"),
        ("memory = true", "memory: must be a number above 0, not True"),
        ("against = 'x'", "against: is given on the command line only, as --against"),
        ("device = 'gpu'", 'device: must be "auto", "cpu", "cuda" or "cuda:" with a number'),
        ("checks = ['vmp']", 'checks: no check is called "vmp"; did you mean "vmap"?'),
        ("checks = 'vmap'", "checks: must be a list of names, not 'vmap'"),
        ("seed = 1.5", "seed: must be a whole number, not 1.5"),
        ("require-coverage = 101", "require-coverage: must be a number from 0 to 100, not 101"),
        ("examples = 'no.py'", "examples: there is no file"),
        ("example = 'Net'", "example: must be tables: [[tool.bncodemod.verify.example]]"),
        ("example = [{}]", 'example[0].name: is missing: say what to build, as "Net"'),
        (
            "example = [{name = 'N', input = []}]",
            'example[0].input: unknown key; did you mean "inputs"?',
        ),
        ("example = [{name = 'N', arguments = 3}]", "example[0].arguments: must be Python"),
        ("example = [{name = 'N', inputs = [2]}]", "example[0].inputs: holds 2: a shape"),
    ],
)
def test_a_mistake_names_the_file_and_the_key(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, f"[tool.bncodemod.verify]\n{line}\n")
    assert str(caught.value).startswith(
        f"{tmp_path / 'pyproject.toml'}: tool.bncodemod.verify.{message}"
    )


def test_it_is_a_table_at_the_top(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="verify: must be a table"):
        read(tmp_path, "[tool.bncodemod]\nverify = 3\n")
    with pytest.raises(ConfigurationError, match="verify: belongs in"):
        read(tmp_path, "[[tool.bncodemod.overrides]]\npaths = ['a']\nverify = {}\n")
