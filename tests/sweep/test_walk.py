"""What the walk finds: under which names, in which order, and what it says of the rest."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bncodemod.model import FileError
from bncodemod.settings import DEFAULT_EXCLUDE
from bncodemod.sweep.ignore import Patterns
from bncodemod.sweep.walk import walk


def files(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(
    *paths: str,
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE,
    extend_exclude: tuple[str, ...] = (),
    force_exclude: bool = False,
    root: str = ".",
) -> list[str | FileError]:
    return list(
        walk(
            paths or (".",),
            exclude=exclude,
            extend_exclude=extend_exclude,
            force_exclude=force_exclude,
            root=root,
        )
    )


def error(*paths: str) -> FileError:
    (item,) = (item for item in found(*paths) if isinstance(item, FileError))
    assert item.code == "BN902"
    assert item.message
    assert item.remedy
    return item


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestWhatIsTaken:
    def test_python_files_sorted(self, tree: Path) -> None:
        files(tree, "b.py", "a/z.py", "a/b.pyi", "a/c.txt", "README", "a-b/x.py", "setup.cfg")
        assert found() == ["a-b/x.py", "a/b.pyi", "a/z.py", "b.py"]

    def test_paths_are_named_as_the_user_names_them(self, tree: Path) -> None:
        files(tree, "a/x.py")
        assert found("a") == found("a/") == found("./a") == found("a/../a") == ["a/x.py"]
        assert found(str(tree)) == [str(tree / "a/x.py")]

    def test_path_objects(self, tree: Path) -> None:
        files(tree, "a/x.py")
        walked = walk([Path("a")], exclude=(), extend_exclude=(), force_exclude=False, root=tree)
        assert list(walked) == ["a/x.py"]

    def test_each_file_once(self, tree: Path) -> None:
        files(tree, "a/x.py", "a/b/y.py")
        assert found("a/b", "a", "a/x.py", str(tree / "a")) == ["a/b/y.py", "a/x.py"]

    def test_named_file_whatever_its_name(self, tree: Path) -> None:
        files(tree, "script", "build/x.py")
        assert found("script", "build/x.py") == ["build/x.py", "script"]

    def test_file_name_that_is_not_utf8(self, tree: Path) -> None:
        name = os.fsdecode(b"caf\xe9.py")
        files(tree, name)
        assert found() == [name]

    def test_folder_with_a_python_name(self, tree: Path) -> None:
        files(tree, "x.py/y.py")
        assert found() == ["x.py/y.py"]

    def test_deep_tree(self, tree: Path) -> None:
        depth = 1200  # deeper than Python's stack
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        Path("x.py").touch()
        try:
            os.chdir(tree)
            assert found() == ["d/" * depth + "x.py"]
        finally:  # pytest's own removal is recursive
            os.unlink("d/" * depth + "x.py")
            os.removedirs("d/" * depth)


class TestExclude:
    def test_defaults(self, tree: Path) -> None:
        files(tree, "x.py", "build/x.py", "a/node_modules/x.py", ".venv/x.py", ".git/x.py")
        assert found() == ["x.py"]

    def test_named_folder_is_entered(self, tree: Path) -> None:
        files(tree, "build/x.py", "build/build/x.py")
        assert found("build") == ["build/x.py"]

    def test_virtual_environment_by_its_mark(self, tree: Path) -> None:
        files(tree, "x.py", "py311/pyvenv.cfg", "py311/lib/y.py")
        assert found() == ["x.py"]
        assert found("py311") == ["py311/lib/y.py"]

    def test_patterns(self, tree: Path) -> None:
        files(tree, "a/x.py", "a/gen/x.py", "b/a/x.py", "x_pb2.py", "c/y.py")
        assert found(extend_exclude=("/a", "*_pb2.py", "c/")) == ["b/a/x.py"]
        assert found(extend_exclude=("a/gen", "a/x.py")) == ["b/a/x.py", "c/y.py", "x_pb2.py"]
        assert found(extend_exclude=("a", "!b/a")) == ["b/a/x.py", "c/y.py", "x_pb2.py"]

    def test_exclude_replaces_the_defaults(self, tree: Path) -> None:
        files(tree, "build/x.py", "a/x.py")
        assert found(exclude=("a",)) == ["build/x.py"]

    def test_patterns_are_relative_to_root(self, tree: Path) -> None:
        files(tree, "a/b/x.py", "a/c/x.py")
        assert found("a", extend_exclude=("/b",), root="a") == ["a/c/x.py"]
        assert found("a", extend_exclude=("/b",), root=".") == ["a/b/x.py", "a/c/x.py"]

    def test_outside_root_names_count(self, tree: Path) -> None:
        files(tree, "a/build/x.py", "a/x.py", "b/y.py")
        assert found("a", root="b") == ["a/x.py"]

    def test_force_exclude(self, tree: Path) -> None:
        files(tree, "build/a/x.py", "a/x.py")
        named = ("build/a/x.py", "a/x.py", "build/a")
        assert found(*named, force_exclude=True) == ["a/x.py"]
        assert found(*named) == ["a/x.py", "build/a/x.py"]


class TestGitignore:
    @pytest.mark.parametrize("repository", [True, False], ids=["repository", "no repository"])
    def test_every_level(self, tree: Path, repository: bool) -> None:
        files(tree, "x.py", "a/x.py", "a/y.py", "a/b/x.py", "a/b/y.py", "out/z.py", "a/out/z.py")
        (tree / ".gitignore").write_text("# generated\n\ny.py\n/out/\n")
        (tree / "a/b/.gitignore").write_text("!y.py\nx.py\n")
        if repository:
            subprocess.run(["git", "init", "-q"], check=True)
        assert found() == ["a/b/y.py", "a/out/z.py", "a/x.py", "x.py"]

    def test_parents_up_to_the_repository(self, tree: Path) -> None:
        files(tree, "repo/.git/HEAD", "repo/a/b/x.py", "repo/a/b/y.py", "repo/a/b/z.py")
        (tree / ".gitignore").write_text("z.py\n")
        (tree / "repo/.gitignore").write_text("/a/b/x.py\n")
        (tree / "repo/a/.gitignore").write_text("y.py\n")
        assert found("repo/a/b") == ["repo/a/b/z.py"]

    def test_parents_up_to_root_outside_a_repository(self, tree: Path) -> None:
        files(tree, "a/b/x.py", "a/b/y.py", "a/b/z.py")
        (tree / ".gitignore").write_text("x.py\n")
        (tree / "a/.gitignore").write_text("y.py\n")
        assert found("a/b", root=".") == ["a/b/z.py"]
        assert found("a/b", root="a") == ["a/b/x.py", "a/b/z.py"]

    def test_inner_repository_starts_anew(self, tree: Path) -> None:
        files(tree, ".git/HEAD", "inner/.git/HEAD", "inner/x.py", "x.py")
        (tree / ".gitignore").write_text("x.py\n")
        assert found() == ["inner/x.py"]

    def test_ignored_folder_is_not_entered(self, tree: Path) -> None:
        files(tree, "a/x.py")
        (tree / ".gitignore").write_text("a\n!a/x.py\n")
        assert found() == []
        assert found("a") == ["a/x.py"]
        assert found("a/x.py") == ["a/x.py"]

    def test_line_that_is_no_pattern(self, tree: Path) -> None:
        files(tree, "x.py", "y.py")
        (tree / ".gitignore").write_text("!\n//\nx.py\n")
        assert found() == ["y.py"]

    @pytest.mark.parametrize(
        ("pattern", "name", "ignored"),
        [
            ("*.py[cod]", "x.pyc", True),
            ("*.py[cod]", "x.py", None),
            ("[[:alpha:]]x.py", "ax.py", True),
            ("[[:alpha:]]x.py", "1x.py", None),
            ("[]-]x", "]x", True),
            ("[z-a]x", "zx", None),
            ("[a", "[a", None),
            ("a\\", "a\\", None),
            ("\\#x", "#x", True),
            ("\\!x", "!x", True),
            ("x\\ ", "x ", True),
            ("x   ", "x", True),
            (" x", " x", True),
            ("a.b", "aXb", None),
            ("!x", "x", False),
        ],
    )
    def test_one_pattern(self, pattern: str, name: str, ignored: bool | None) -> None:
        assert Patterns([pattern], "/r/").verdict(f"/r/{name}", name, False) is ignored


NAMES = st.sampled_from(["a", "b", "x.py", "y.py", "ab.py"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
PATTERNS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "!", ""]),
    st.sampled_from(["", "/", "**/", "a/", "*/", "\\"]),
    st.sampled_from(
        ["a", "b", "x.py", "*", "*.py", "?.py", "a*", "[ax].py", "[!x].py", "[^x]*", "a/x.py", "**"]
    ),
    st.sampled_from(["", "", "/", "/*", "/**", " ", "\\ "]),
)


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(PATHS, min_size=1, max_size=8),
    st.dictionaries(st.sampled_from(["", "a/", "a/b/"]), st.lists(PATTERNS, max_size=4)),
)
def test_same_files_as_git(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], ignores: dict[str, list[str]]
) -> None:
    root = tmp_path_factory.mktemp("repo")
    for path in paths:
        target = root / path
        if not any(p.is_file() for p in target.parents) and not target.is_dir():
            files(root, path)
    for folder, lines in ignores.items():
        if (root / folder).is_dir():
            (root / folder / ".gitignore").write_text("\n".join(lines) + "\n")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},
    ).stdout.split("\0")
    expected = sorted(name for name in listed if name.endswith(".py"))
    walked = walk([root], exclude=(".git",), extend_exclude=(), force_exclude=False, root=root)
    assert [os.path.relpath(str(path), root) for path in walked] == expected
    shutil.rmtree(root)


class TestLinks:
    def test_folder_loops_end(self, tree: Path) -> None:
        files(tree, "a/x.py")
        os.symlink("..", "a/loop")
        os.symlink(".", "here")
        assert found() == ["a/x.py"]

    def test_linked_folders_are_not_followed_unless_named(self, tree: Path) -> None:
        files(tree, "elsewhere/x.py", "a/y.py")
        os.symlink("../elsewhere", "a/link")
        assert found("a") == ["a/y.py"]
        assert found("a/link") == ["a/link/x.py"]

    def test_linked_file_is_taken(self, tree: Path) -> None:
        files(tree, "elsewhere/x.py", "a/y.py")
        os.symlink("../elsewhere/x.py", "a/link.py")
        assert found("a") == ["a/link.py", "a/y.py"]

    def test_linked_file_and_target_are_one(self, tree: Path) -> None:
        files(tree, "a/z.py")
        os.symlink("z.py", "a/b.py")
        os.symlink("b.py", "a/a.py")
        assert found() == found("a/a.py", "a") == ["a/z.py"]

    def test_broken_link(self, tree: Path) -> None:
        files(tree, "y.py")
        os.symlink("nowhere.py", "x.py")
        os.symlink("nowhere", "data")
        os.symlink("user@host.1234", ".#y.py")
        assert error().path == "x.py"
        assert "nowhere.py" in error().message
        assert found("y.py") == ["y.py"]
        assert error("x.py").path == "x.py"

    def test_links_in_a_circle(self, tree: Path) -> None:
        files(tree, "y.py")
        os.symlink("two", "one")
        os.symlink("one", "two")
        walked = found()
        assert [i.path for i in walked if isinstance(i, FileError)] == ["one", "two"]
        assert walked[-1] == "y.py"


class TestErrors:
    def test_path_that_does_not_exist(self, tree: Path) -> None:
        files(tree, "x.py")
        walked = found("missing/", "x.py", "x.py/y.py")
        assert walked[1] == "x.py"
        assert [i.path for i in walked if isinstance(i, FileError)] == ["missing", "x.py/y.py"]
        assert error("missing").message == "No such file or directory"

    def test_special_files(self, tree: Path) -> None:
        os.mkfifo("pipe.py")
        assert error().message == error("pipe.py").message == "not a regular file"
        os.unlink("pipe.py")
        with socket.socket(socket.AF_UNIX) as endpoint:
            endpoint.bind("socket.py")
            assert error().path == "socket.py"

    def test_unreadable_folder(self, open_tree: Path, unprivileged: None) -> None:
        files(open_tree, "a/x.py", "b/y.py")
        os.chmod("a", 0)
        try:
            assert error().path == "a"
            assert found()[-1] == "b/y.py"
        finally:
            os.chmod("a", 0o755)

    def test_unreadable_gitignore(self, open_tree: Path, unprivileged: None) -> None:
        files(open_tree, "x.py", ".gitignore")
        os.chmod(".gitignore", 0)
        assert error().path == ".gitignore"
        assert found()[-1] == "x.py"
