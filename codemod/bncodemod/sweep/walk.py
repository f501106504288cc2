"""Which Python files lie under the paths that a user gave."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence

from bncodemod.model import FileError
from bncodemod.source.errors import Unreadable
from bncodemod.sweep.ignore import Patterns, read_gitignore

SUFFIXES = (".py", ".pyi")

# The .gitignore files that speak of a folder's entries, the outermost first.
_Chain = tuple[Patterns, ...]


def walk(
    paths: Sequence[str | os.PathLike[str]],
    *,
    exclude: Sequence[str],
    extend_exclude: Sequence[str],
    force_exclude: bool,
    root: str | os.PathLike[str],
) -> Iterator[str | FileError]:
    """The Python files under ``paths``, sorted, each once; a FileError for what cannot be read.

    - A file that is named is taken whatever its name, unless ``force_exclude`` is set and a
      pattern speaks of it. A folder that is named is entered, even one that is ignored.
    - ``exclude`` and ``extend_exclude`` are patterns relative to ``root``. Virtual environments
      (folders with a ``pyvenv.cfg``) are never entered.
    - .gitignore files count at every level, in a git repository from its top folder down, else
      from ``root`` down. A repository inside another starts anew, as for git.
    - Symbolic links to folders are not followed, so no loop is endless: what lies in the tree is
      found under its own name. Linked files are taken, unless the target is found as well.
    """
    walker = _Walker((*exclude, *extend_exclude), force_exclude, os.path.realpath(root))
    for path in paths:
        walker.add(os.fspath(path))
    return walker.results()


class _Walker:
    def __init__(self, exclude: Sequence[str], force_exclude: bool, root: str) -> None:
        self._root = os.path.join(root, "")
        self._exclude = Patterns(exclude, self._root)
        self._force_exclude = force_exclude
        # By real path, so that overlapping arguments and links give a file once.
        self._found: dict[str, str] = {}
        self._links: list[str] = []
        self._errors: list[FileError] = []
        self._entered: set[str] = set()

    def results(self) -> Iterator[str | FileError]:
        for link in sorted(self._links):
            self._found.setdefault(os.path.realpath(link), link)
        everything: list[tuple[str, str | FileError]] = [(p, p) for p in self._found.values()]
        everything += [(error.path, error) for error in self._errors]
        everything.sort(key=lambda item: item[0])
        return (item for _, item in everything)

    def add(self, path: str) -> None:
        """Take one path that the user named."""
        path = os.path.normpath(path)
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            self._failed(path, error)
            return
        if self._force_exclude and self._excluded_by_force(path, stat.S_ISDIR(mode)):
            return
        if stat.S_ISDIR(mode):
            real = os.path.join(os.path.realpath(path), "")
            try:
                chain = self.above(real)
            except OSError as error:
                self._failed(error.filename, error)
                chain = ()
            self._tree("" if path == os.curdir else os.path.join(path, ""), real, chain)
        elif stat.S_ISREG(mode):
            if os.path.islink(path):
                self._links.append(path)
            else:
                self._found.setdefault(os.path.realpath(path), path)
        else:
            self._special(path)

    def _tree(self, shown: str, real: str, chain: _Chain) -> None:
        """Walk a folder: ``shown`` is how its files are named, ``real`` its real path.

        Both end in a slash. A list of folders to do and no recursion: a deep tree has no limit.
        """
        named = real
        todo = [(shown, real, chain)]
        while todo:
            shown, real, chain = todo.pop()
            if real in self._entered:
                continue
            self._entered.add(real)
            try:
                with os.scandir(shown or os.curdir) as listing:
                    entries = list(listing)
            except OSError as error:
                self._failed(shown.rstrip(os.sep) or os.curdir, error)
                continue
            names = [entry.name for entry in entries]
            if "pyvenv.cfg" in names and real != named:
                continue
            try:
                chain = self.chain_in(real, names, chain)
            except OSError as error:
                self._failed(shown + ".gitignore", error)
            todo += self._folder(entries, shown, real, chain)

    def chain_in(self, real: str, names: list[str], chain: _Chain) -> _Chain:
        """The patterns that hold in a folder with those entries, given those above it."""
        if ".git" in names:
            chain = ()
        if ".gitignore" in names and (patterns := read_gitignore(real)):
            chain = (*chain, patterns)
        return chain

    def _folder(
        self, entries: list[os.DirEntry[str]], shown: str, real: str, chain: _Chain
    ) -> list[tuple[str, str, _Chain]]:
        """Take the files among ``entries``; what is returned are the folders to enter."""
        found, folders = self._found, []
        for entry in entries:
            name = entry.name
            if name.endswith(SUFFIXES):
                if entry.is_file(follow_symlinks=False):
                    if not self.ignores(chain, real + name, name, False):
                        found.setdefault(real + name, shown + name)
                    continue
                if not entry.is_dir(follow_symlinks=False):
                    if not self.ignores(chain, real + name, name, False):
                        self._odd(entry, shown + name)
                    continue
            if entry.is_dir(follow_symlinks=False):
                if not self.ignores(chain, real + name, name, True):
                    folders.append((f"{shown}{name}{os.sep}", f"{real}{name}{os.sep}", chain))
            elif entry.is_symlink() and not self.ignores(chain, real + name, name, False):
                self._check_loop(shown + name)
        return folders

    def _odd(self, entry: os.DirEntry[str], path: str) -> None:
        """A Python file's name that is neither a regular file nor a folder."""
        if entry.name.startswith(".#"):  # Emacs locks a file by a link that points nowhere
            return
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            self._failed(path, error)
            return
        if stat.S_ISREG(mode):
            self._links.append(path)
        elif not stat.S_ISDIR(mode):
            self._special(path)

    def _check_loop(self, path: str) -> None:
        """Report links that only lead to each other; whatever else has such a name is not ours."""
        try:
            os.stat(path)
        except OSError as error:
            if error.errno == errno.ELOOP:
                self._failed(path, error)

    def ignores(self, chain: _Chain, path: str, name: str, is_directory: bool) -> bool:
        """Whether an entry is left out."""
        if self._excluded(path, name, is_directory):
            return True
        for patterns in reversed(chain):
            verdict = patterns.verdict(path, name, is_directory)
            if verdict is not None:
                return verdict
        return False

    def _excluded(self, path: str, name: str, is_directory: bool) -> bool:
        if not path.startswith(self._root):
            # Outside root only patterns that hold at any depth can match: ask for the bare name.
            path = self._root + name
        return bool(self._exclude.verdict(path, name, is_directory))

    def _excluded_by_force(self, path: str, is_directory: bool) -> bool:
        """Whether a pattern speaks of a named path or of a folder above it, up to ``root``."""
        folder, name = os.path.split(os.path.abspath(path))
        current = os.path.join(os.path.realpath(folder), name)
        while True:
            parent, name = os.path.split(current)
            if self._excluded(current, name, is_directory):
                return True
            if not parent.startswith(self._root) or parent == current:
                return False
            current, is_directory = parent, True

    def above(self, real: str) -> _Chain:
        """The .gitignore files above a folder, as far as they speak of it."""
        if os.path.lexists(real + ".git"):
            return ()
        folders: list[str] = []
        current = real
        while (parent := os.path.join(os.path.dirname(current.rstrip(os.sep)), "")) != current:
            folders.append(parent)
            current = parent
            if os.path.lexists(parent + ".git"):
                break
        else:
            folders = [f for f in folders if f.startswith(self._root)]
        read = [read_gitignore(folder) for folder in reversed(folders)]
        return tuple(patterns for patterns in read if patterns)

    def _failed(self, path: str, error: OSError) -> None:
        self._errors.append(unreadable(error).at(path))

    def _special(self, path: str) -> None:
        error = Unreadable("not a regular file", remedy="exclude it, or name a file or a folder")
        self._errors.append(error.at(path))


class Ignored:
    """Which files a walk of whole projects leaves out; ``roots`` are their top folders."""

    def __init__(
        self, roots: Sequence[str], *, exclude: Sequence[str], root: str | os.PathLike[str]
    ) -> None:
        self._roots = {os.path.join(os.path.realpath(top), "") for top in roots}
        self._walker = _Walker(exclude, False, os.path.realpath(root))
        self._chains: dict[str, _Chain | None] = {}

    def covers(self, path: str) -> bool:
        """Whether a file would not be found."""
        folder, name = os.path.split(os.path.realpath(path))
        chain = self._chain(os.path.join(folder, ""))
        if chain is None:
            return True
        return self._walker.ignores(chain, os.path.join(folder, name), name, is_directory=False)

    def _chain(self, folder: str) -> _Chain | None:
        """The patterns that hold in a folder; None for one that is never entered."""
        if folder not in self._chains:
            try:
                self._chains[folder] = self._entered(folder)
            except OSError:
                self._chains[folder] = None
        return self._chains[folder]

    def _entered(self, folder: str) -> _Chain | None:
        above, name = os.path.split(folder.rstrip(os.sep))
        names = os.listdir(folder)
        if folder in self._roots or not name:
            return self._walker.chain_in(folder, names, self._walker.above(folder))
        chain = self._chain(os.path.join(above, ""))
        if chain is None or "pyvenv.cfg" in names:
            return None
        if self._walker.ignores(chain, folder.rstrip(os.sep), name, is_directory=True):
            return None
        return self._walker.chain_in(folder, names, chain)


_REMEDIES = {
    errno.ENOENT: "correct the path",
    errno.ENOTDIR: "correct the path",
    errno.EACCES: "give yourself the right to read it, or exclude it",
    errno.EPERM: "give yourself the right to read it, or exclude it",
    errno.ELOOP: "correct the symbolic link, or remove it",
    errno.ENAMETOOLONG: "correct the path",
}


def unreadable(error: OSError) -> Unreadable:
    """The BN902 error for what the system said of a path."""
    message = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0, "see that the file can be read, or exclude it")
    name = error.filename
    if error.errno == errno.ENOENT and isinstance(name, str) and os.path.islink(name):
        target = os.readlink(name)
        message = f"broken symbolic link: {target} does not exist"
        remedy = "correct the symbolic link, or remove it"
    return Unreadable(message, remedy=remedy)
