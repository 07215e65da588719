"""Which files a path, a folder, a glob or a `classpath:` location means, and in which order they are merged."""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from herz.errors import UsageError

CLASSPATH: Final = "classpath:"
FILE: Final = "file:"
_MAGIC: Final = re.compile(r"[*?\[]")


class Member(NamedTuple):
    """One file that a pattern means.

    `root` is what it depends on: the folder that the pattern searches, the base file of a profile
    variant, empty for a file named by itself.
    """

    path: str
    root: str


@dataclass(slots=True)
class Scan:
    """What the patterns mean on disk now.

    `members` are in merge order, last wins. `wanted` are all paths that would be members if they
    existed, `folders` all folders that were searched. `absent` names what a pattern should lead to and
    does not. `inactive` are files left out because their profile is not active.
    """

    members: list[Member] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    inactive: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FilePattern:
    """One location as its author wrote it (`text`), and the absolute paths it may stand for, first found wins.

    `glob` holds the segments to match below the path: `()` for a file or a folder named by itself,
    `("*",)` for a folder alone, `("**", "*")` for a whole tree. `**` matches any number of folders.
    """

    text: str
    roots: tuple[str, ...]
    glob: tuple[str, ...] = ()

    @classmethod
    def parse(cls, spec: str | os.PathLike[str], *, base_folders: Sequence[str] = (), cwd: str = "") -> FilePattern:
        """The pattern that `spec` writes; a `PathLike` is taken literally, text may hold `*`, `?`, `[…]`, `**`.

        `classpath:/config/` is looked for in each base folder, then in the importable package `config`
        (on disk, not imported). `file:/…` is absolute. Anything else is relative to `cwd`.
        """
        cwd = cwd or os.getcwd()
        if not isinstance(spec, str):
            path = os.fspath(spec)
            return cls(path, (_absolute(path, cwd),))
        if not spec.strip():
            raise UsageError("an empty path names no configuration", remedy="name a file, a folder or a glob")
        if spec.startswith(CLASSPATH):
            rest = spec[len(CLASSPATH) :].lstrip("/")
            fixed, glob = _parted(rest)
            return cls(spec, tuple(_classpath(fixed, base_folders or (cwd,), cwd)), glob)
        path = _file_url(spec) if spec.startswith(FILE) else spec
        path = os.path.expanduser(path)
        if os.path.exists(_absolute(path, cwd)):  # it is there under this very name, brackets and all
            fixed, glob = path, ("*",) if path.endswith("/") else ()
        else:
            fixed, glob = _parted(path)
        return cls(spec, (_absolute(fixed, cwd),), glob)

    def root(self) -> str:
        """The path that it stands for now: the first that exists, otherwise the first."""
        exists = os.path.isdir if self.glob else _present
        return next((root for root in self.roots if exists(root)), self.roots[0])

    def covers(self, path: str) -> bool:
        """Whether the absolute `path` is one that this pattern means; a folder without `**` is that folder alone."""
        for root in self.roots:
            if path == root and not self.glob:
                return True
            below = _below(root, path)
            if below is not None and _matches(below, self.glob or ("*",)):
                return True
        return False

    def scan(self, into: Scan, *, profiles: Sequence[str], known: Callable[[str], bool]) -> None:
        """Add what this pattern means now. `known(name)` tells files of a known format, others in folders are left."""
        root = self.root()
        preferred = self.roots[: self.roots.index(root)]
        into.wanted += preferred
        if not self.glob and not os.path.isdir(root):
            self._scan_file(root, into, profiles)
            return
        if not os.path.isdir(root):
            into.wanted.append(root)
            into.absent.append(root)
            return
        found: list[str] = []
        before = len(into.members)
        _search(root, self.glob or ("*",), into.folders, found, known)
        base, variants = _by_profile(found, profiles, into.inactive)
        into.members += [Member(path, root) for path in (*base, *variants)]
        if len(into.members) == before:
            into.absent.append(os.path.join(root, *self.glob))

    def _scan_file(self, path: str, into: Scan, profiles: Sequence[str]) -> None:
        stem, ending = os.path.splitext(path)
        into.wanted += [path, *(f"{stem}-{profile}{ending}" for profile in profiles)]
        if _present(path):
            into.members.append(Member(path, ""))
        else:
            into.absent.append(path)
        for profile in profiles:
            variant = f"{stem}-{profile}{ending}"
            if _present(variant):
                into.members.append(Member(variant, path))


def scan(patterns: Iterable[FilePattern], *, profiles: Sequence[str], known: Callable[[str], bool]) -> Scan:
    """What `patterns` mean on disk now, each file once, at its last (highest) place.

    Within a pattern the files come by path, then, for each active profile in order, their variants
    `name-<profile>.<ext>`; a later pattern comes after an earlier one.
    """
    result = Scan()
    for pattern in patterns:
        pattern.scan(result, profiles=profiles, known=known)
    unique = {member.path: member for member in reversed(result.members)}
    result.members = list(reversed(unique.values()))
    return result


class WatchPaths:
    """What `herz.config.watch.enabled` and `.paths` say: which of the loaded files are watched.

    With `paths` None everything that was loaded is watched. An entry is written like a source:
    `classpath:/config/` (that folder alone), `classpath:/config/**` (the tree), `file:/…`, a path.
    """

    def __init__(
        self,
        enabled: bool = True,
        paths: Sequence[str] | None = None,
        base_folders: Sequence[str | os.PathLike[str]] = (),
        cwd: str = "",
    ) -> None:
        self.enabled = enabled
        self.paths = None if paths is None else tuple(paths)
        self._cwd = cwd or os.getcwd()
        self._bases = tuple(_absolute(os.fspath(base), self._cwd) for base in base_folders) or (self._cwd,)
        self._patterns = tuple(
            FilePattern.parse(text, base_folders=self._bases, cwd=self._cwd) for text in self.paths or ()
        )

    def covers(self, path: str | os.PathLike[str]) -> bool:
        """Whether the file at `path` is watched."""
        if not self.enabled or self.paths is None:
            return self.enabled
        absolute = _absolute(os.fspath(path), self._cwd)
        return any(pattern.covers(absolute) for pattern in self._patterns)

    def entry_for(self, path: str | os.PathLike[str]) -> str:
        """The entry that, added to `herz.config.watch.paths`, covers `path`: its folder, as `classpath:` or `file:`."""
        absolute = _absolute(os.fspath(path), self._cwd)
        folder, name = os.path.split(absolute)
        for base in self._bases:
            if folder == base:  # the base folder holds the whole application: the file alone is meant
                return f"{CLASSPATH}/{name}"
            below = _below(base, folder)
            if below is not None:
                return f"{CLASSPATH}/{'/'.join(below)}/"
        return f"{FILE}{folder.rstrip('/')}/"


def display(path: str, cwd: str) -> str:
    """`path` as a user would say it: relative to `cwd` when it is under it."""
    below = _below(cwd, path)
    return path if below is None else os.path.join(*below)


def _present(path: str) -> bool:
    """Whether there is something; what may not be looked at counts as there, so that reading it says why."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _absolute(path: str, cwd: str) -> str:
    return os.path.normpath(os.path.join(cwd, path))


def _below(folder: str, path: str) -> list[str] | None:
    """The segments of `path` below `folder`; None when it is not below."""
    start = folder if folder.endswith(os.sep) else folder + os.sep
    return path[len(start) :].split(os.sep) if path.startswith(start) and path != start else None


def _parted(path: str) -> tuple[str, tuple[str, ...]]:
    """The fixed folder or file that `path` starts with, and the segments to match below it."""
    segments = path.split("/")
    first = next((index for index, segment in enumerate(segments) if _MAGIC.search(segment)), None)
    if first is None:
        return path, ("*",) if path.endswith("/") or not path else ()
    fixed, glob = "/".join(segments[:first]), tuple(segment for segment in segments[first:] if segment)
    if glob[-1] == "**":
        glob = (*glob, "*")
    return fixed or ("/" if path.startswith("/") else ""), glob


def _file_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost"):
        raise UsageError(
            f"{text}: a file URL names no host", remedy="write file:/absolute/path or file:///absolute/path"
        )
    return unquote(text[len(FILE) :] if not parts.netloc and not text.startswith("file://") else parts.path)


def _classpath(path: str, base_folders: Sequence[str], cwd: str) -> Iterator[str]:
    for base in base_folders:
        yield _absolute(os.path.join(base, path), cwd)
    first, _, rest = path.rstrip("/").partition("/")
    if first.isidentifier():
        try:
            spec = importlib.util.find_spec(first)
        except (ImportError, ValueError):
            return
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            if os.path.isdir(folder):  # a package inside an archive has no files to read or watch
                yield os.path.normpath(os.path.join(folder, rest))


def _search(
    root: str, glob: tuple[str, ...], folders: list[str], found: list[str], known: Callable[[str], bool]
) -> None:
    """Add the files below `root` that match, and every folder that was looked into."""

    def into(folder: str, states: frozenset[int], above: tuple[str, ...]) -> None:
        real = os.path.realpath(folder)
        if real in above:  # a link back to a folder we are in
            return
        folders.append(folder)
        try:
            with os.scandir(folder) as entries:
                inside = sorted((entry.name, entry.is_dir()) for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, is_folder in inside:
            following = _following(states, glob, name)
            path = os.path.join(folder, name)
            if is_folder:
                if following - {len(glob)} and not (name.startswith(".") and "**" in glob):
                    into(path, following, (*above, real))
            elif len(glob) in following and _visible(name) and known(name) and _present(path):
                found.append(path)

    into(root, _closed({0}, glob), ())


def _following(states: Iterable[int], glob: tuple[str, ...], name: str) -> frozenset[int]:
    """Where in `glob` one stands after `name`; `len(glob)` is the end, reached when all of it has matched."""
    if name.startswith(".."):  # how Kubernetes names what it mounts; the links beside them are the files
        return frozenset()
    reached: set[int] = set()
    for state in states:
        if state < len(glob):
            if glob[state] == "**":
                reached.add(state)
            elif fnmatch.fnmatchcase(name, glob[state]):
                reached.add(state + 1)
    return _closed(reached, glob)


def _closed(states: set[int], glob: tuple[str, ...]) -> frozenset[int]:
    for state in sorted(states):
        while state < len(glob) and glob[state] == "**":
            state += 1
            states.add(state)
    return frozenset(states)


def _matches(segments: Sequence[str], glob: tuple[str, ...]) -> bool:
    states = _closed({0}, glob)
    for segment in segments:
        states = _following(states, glob, segment)
    return len(glob) in states


def _visible(name: str) -> bool:
    """Whether a folder's file counts: not the hidden ones, which editors leave, except `.env`."""
    return not name.startswith(".") or name == ".env" or name.startswith(".env.")


def _by_profile(paths: Sequence[str], profiles: Sequence[str], inactive: list[str]) -> tuple[list[str], list[str]]:
    """`paths` without profile variants, and the variants of active profiles in the profiles' order."""
    stems: dict[str, set[str]] = {}
    for path in paths:
        folder, name = os.path.split(path)
        stems.setdefault(folder, set()).add(os.path.splitext(name)[0])
    base: list[str] = []
    variants: list[tuple[int, str]] = []
    for path in paths:
        folder, name = os.path.split(path)
        stem = os.path.splitext(name)[0]
        # Every way in which this name is another file's name, a dash, and something.
        named = [stem[len(other) + 1 :] for other in stems[folder] if stem.startswith(f"{other}-")]
        active = [profiles.index(profile) for profile in named if profile in profiles]
        if not named:
            base.append(path)
        elif active:
            variants.append((max(active), path))
        else:
            inactive.append(path)
    return sorted(base), [path for _, path in sorted(variants)]
