"""Configuration: where it is found, what it says, and what is said of a wrong one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from bncodemod.settings import (
    DEFAULT_EXCLUDE,
    PER_FILE,
    Configuration,
    ConfigurationError,
    Override,
    Settings,
    anchored,
    load_configuration,
)

CODES = ("BN101", "BN102", "BN203")


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(text)
    return folder


def settings_of(folder: Path, text: str, path: str = "a.py", **command_line: object) -> Settings:
    write(folder, text)
    return load_configuration([folder], command_line, lambda: CODES).for_path(folder / path)


def complaint(folder: Path, text: str) -> str:
    write(folder, text)
    with pytest.raises(ConfigurationError) as caught:
        load_configuration([folder], {}, lambda: CODES)
    file = str(folder / "pyproject.toml")
    assert str(caught.value).startswith(f"{file}: ")
    return str(caught.value).removeprefix(f"{file}: ")


# --- what it says ---------------------------------------------------------------------------------


def test_every_key(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
        [tool.bncodemod]
        strategy = "group-norm"
        groups = 16
        min-group-size = 2
        group-fallback = "gcd"
        third-party = "patch"
        patch = "keep-statistics"
        select = ["BN1"]
        ignore = ["BN102"]
        exclude = ["old"]
        extend-exclude = ["third_party"]
        force-exclude = true
        """,
    )
    found = load_configuration([tmp_path])
    assert found == Configuration(
        str(tmp_path),
        Settings("group-norm", 16, 2, "gcd", ("BN1",), ("BN102",), "patch", "keep-statistics"),
        exclude=("old",),
        extend_exclude=("third_party",),
        force_exclude=True,
    )


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load_configuration([tmp_path / "sub" / "a.py"])
    assert found == Configuration(str(tmp_path), Settings(), exclude=DEFAULT_EXCLUDE)
    assert found.for_path("anything.py") == Settings()


def test_a_configuration_made_by_hand_reads_no_file(tmp_path: Path) -> None:
    write(tmp_path, '[tool.bncodemod]\nstrategy = "group-norm"\n')
    configuration = Configuration(str(tmp_path), Settings(groups=8))
    assert configuration.for_path(tmp_path / "a.py") == Settings(groups=8)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[tool]\nbncodemod = {groups = 8}\n", id="inline table"),
        pytest.param('[tool."bncodemod"]\ngroups = 8\n', id="quoted"),
        pytest.param("tool.bncodemod.groups = 8\n", id="dotted"),
        pytest.param("\ufeff[ tool . bncodemod ]\r\ngroups = 8\r\n", id="byte order mark, CRLF"),
    ],
)
def test_every_way_to_spell_the_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_bytes(text.encode())
    assert load_configuration([tmp_path]).settings.groups == 8


def test_a_file_without_the_name_is_not_even_parsed(tmp_path: Path) -> None:
    write(tmp_path, "this is not TOML")
    assert load_configuration([tmp_path]).settings == Settings()


def test_it_pickles(tmp_path: Path) -> None:
    write(tmp_path, '[tool.bncodemod]\ngroups = 8\n[[tool.bncodemod.overrides]]\npaths = ["m"]\n')
    configuration = pickle.loads(pickle.dumps(load_configuration([tmp_path])))
    assert configuration.for_path(tmp_path / "a.py").groups == 8


# --- overrides ------------------------------------------------------------------------------------

OVERRIDES = """
[tool.bncodemod]
groups = 8

[[tool.bncodemod.overrides]]
paths = ["models/**", "*_net.py"]
strategy = "group-norm"
ignore = ["BN101"]

[[tool.bncodemod.overrides]]
paths = ["models/small/**"]
groups = 4
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("train.py", Settings(groups=8), id="none matches"),
        pytest.param("x/models/a.py", Settings(groups=8), id="anchored at the file"),
        pytest.param("../models/a.py", Settings(groups=8), id="outside the root"),
        pytest.param("models/a.py", Settings("group-norm", 8, ignore=("BN101",)), id="one"),
        pytest.param("x/y/a_net.py", Settings("group-norm", 8, ignore=("BN101",)), id="by name"),
        pytest.param(
            "models/small/a.py", Settings("group-norm", 4, ignore=("BN101",)), id="both, in order"
        ),
    ],
)
def test_overrides(tmp_path: Path, path: str, expected: Settings) -> None:
    assert settings_of(tmp_path / "project", OVERRIDES, path) == expected


def test_the_command_line_wins_over_overrides_too(tmp_path: Path) -> None:
    found = settings_of(tmp_path, OVERRIDES, "models/small/a.py", groups=2)
    assert found == Settings("group-norm", 2, ignore=("BN101",))


def test_relative_paths_are_those_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, OVERRIDES)
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path / "models")
    assert load_configuration(["a.py"]).for_path("a.py").strategy == "group-norm"
    assert load_configuration(["a.py"]).for_path("../a.py").strategy == "no-running-stats"


# --- which file counts ----------------------------------------------------------------------------


def test_nearest_file_above_the_common_folder(tmp_path: Path) -> None:
    write(tmp_path, "[tool.bncodemod]\ngroups = 8\n")
    write(tmp_path / "a", "[tool.black]\n# bncodemod is only mentioned\n")
    write(tmp_path / "a" / "b", "[tool.bncodemod]\ngroups = 4\n")
    assert load_configuration([tmp_path / "a"]).settings.groups == 8
    assert load_configuration([tmp_path / "a" / "b" / "x.py"]).settings.groups == 4
    both = [tmp_path / "a" / "b" / "x.py", tmp_path / "a" / "y.py"]
    assert load_configuration(both).root == str(tmp_path)


def test_each_file_has_its_own_nearest(tmp_path: Path) -> None:
    write(tmp_path, '[tool.bncodemod]\ngroups = 8\nstrategy = "group-norm"\n')
    write(tmp_path / "b", "[tool.bncodemod]\nmin-group-size = 1\n")
    found = load_configuration([tmp_path], {"strategy": "no-running-stats"})
    assert found.for_path(tmp_path / "x.py") == Settings(groups=8)
    assert found.for_path(tmp_path / "b" / "c" / "x.py") == Settings(min_group_size=1)
    assert found.at(tmp_path / "b").root == str(tmp_path / "b")


def test_a_wrong_file_below_is_named_when_it_is_reached(tmp_path: Path) -> None:
    write(tmp_path / "b", "[tool.bncodemod]\ngroup = 8\n")
    found = load_configuration([tmp_path])
    with pytest.raises(ConfigurationError, match=r"b/pyproject\.toml: tool\.bncodemod\.group:"):
        found.for_path(tmp_path / "b" / "x.py")


def test_extend_exclude_adds_and_exclude_replaces(tmp_path: Path) -> None:
    write(tmp_path, '[tool.bncodemod]\nexclude = ["a"]\nextend-exclude = ["b"]\n')
    typed = {"exclude": ("c",), "extend_exclude": ("d",), "force_exclude": True}
    found = load_configuration([tmp_path], typed)
    assert (found.exclude, found.extend_exclude, found.force_exclude) == (("c",), ("b", "d"), True)


@pytest.mark.parametrize(
    ("pattern", "current", "expected"),
    [
        pytest.param("old", "sub", ("old",), id="any depth stays"),
        pytest.param("old/", "sub", ("old/",), id="any depth, folder only"),
        pytest.param("**/old/x.py", "sub", ("**/old/x.py",), id="any depth, spelled out"),
        pytest.param("m/old", "", ("m/old",), id="same folder"),
        pytest.param("./m/old", "", ("m/old",), id="leading dot"),
        pytest.param("m/old", "sub", ("/sub/m/old",), id="typed below the root"),
        pytest.param("!m/old", "sub", ("!/sub/m/old",), id="negated"),
        pytest.param("root/m/old", "..", ("/m/old",), id="typed above the root"),
        pytest.param("*/m/old", "..", ("/m/old",), id="typed above the root, wildcard"),
        pytest.param("other/m", "..", (), id="cannot match below the root"),
        pytest.param("*/root", "../..", (), id="the root itself"),
    ],
)
def test_patterns_typed_elsewhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    current: str,
    expected: tuple[str, ...],
) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    monkeypatch.chdir(root / current)
    assert anchored([pattern], str(root)) == expected


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stratgy = 'x'", 'tool.bncodemod.stratgy: unknown key; did you mean "strategy"?'),
        ("group_fallback = 'gcd'", 'group_fallback: unknown key; did you mean "group-fallback"?'),
        ("zzz = 1", "tool.bncodemod.zzz: unknown key"),
        ("jobs = 4", "jobs: is given on the command line only, as --jobs"),
        ("paths = ['a']", "paths: belongs in [[tool.bncodemod.overrides]]"),
        (
            "strategy = 'groupnorm'",
            "strategy: must be one of no-running-stats, group-norm, runtime-patch, eval-mode, auto,"
            ' not "groupnorm"; did you mean "group-norm"?',
        ),
        (
            "strategy = 1",
            "strategy: must be one of no-running-stats, group-norm, runtime-patch, eval-mode, auto,"
            " not 1",
        ),
        ("groups = 0", "groups: must be a whole number from 1, not 0"),
        ("groups = true", "groups: must be a whole number from 1, not true"),
        ("min-group-size = '4'", 'min-group-size: must be a whole number from 1, not "4"'),
        ("force-exclude = 'yes'", 'force-exclude: must be true or false, not "yes"'),
        ("exclude = 'old'", 'exclude: must be a list of strings, not "old"'),
        ("select = [1]", "select: must be a list of strings, not [1]"),
        ("select = ['F401']", 'select: no rule code starts with "F401"'),
        ("ignore = ['BN201']", 'no rule code starts with "BN201"; did you mean "BN203"?'),
        ("overrides = 1", "tool.bncodemod.overrides: must be tables"),
        ("[[tool.bncodemod.overrides]]\ngroups = 4", "overrides[0].paths: is missing"),
        ("[[tool.bncodemod.overrides]]\npaths = 'a'", "overrides[0].paths: must be a list"),
        (
            "[[tool.bncodemod.overrides]]\npaths = ['a']\nexclude = ['b']",
            "overrides[0].exclude: belongs in [tool.bncodemod], for all paths",
        ),
        (
            "[[tool.bncodemod.overrides]]\npaths = ['a']\n"
            "[[tool.bncodemod.overrides]]\npaths = ['b']\ngroup = 1",
            'overrides[1].group: unknown key; did you mean "groups"?',
        ),
    ],
)
def test_mistakes_name_the_key_and_the_remedy(tmp_path: Path, text: str, message: str) -> None:
    assert message in complaint(tmp_path, f"[tool.bncodemod]\n{text}\n")


def test_a_table_that_is_none(tmp_path: Path) -> None:
    assert complaint(tmp_path, "[tool]\nbncodemod = 1\n") == "tool.bncodemod: must be a table"


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    message = complaint(tmp_path, "[tool.bncodemod\n")
    assert message.startswith("is not valid TOML: ")
    assert "line 1" in message


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.bncodemod]\n# \xff\n")
    with pytest.raises(ConfigurationError, match="is not valid TOML"):
        load_configuration([tmp_path])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    write(tmp_path, "[tool.bncodemod]\n")
    (tmp_path / "pyproject.toml").chmod(0)
    with pytest.raises(ConfigurationError, match="cannot be read: Permission denied"):
        load_configuration([tmp_path])


# --- the documentation ----------------------------------------------------------------------------


def test_every_key_and_default_folder_is_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()
    walk = ("exclude", "extend-exclude", "force-exclude", "overrides")
    for key in (*(name.replace("_", "-") for name in PER_FILE), *walk):
        assert f"\n| `{key}` |" in text
    for folder in DEFAULT_EXCLUDE:
        assert f"`{folder}`" in text


def test_the_documented_example_is_right(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()
    write(tmp_path, text.partition("```toml\n")[2].partition("```")[0])
    found = load_configuration([tmp_path])
    assert found.overrides == (Override(("models/**",), {"strategy": "group-norm", "groups": 16}),)
