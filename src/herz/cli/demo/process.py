"""Processes of the demo: how the parent starts and stops them, and how they notice that it has gone.

A child says one JSON object a line on its standard output, the first when it is ready, and ends when its standard
input does. So it never outlives its parent, not even one that was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import site
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Self

import herz
from herz.errors import HerzError

READY_S: Final = 30.0
"""How long a child may take until it is ready: a loaded machine imports slowly."""
STOP_S: Final = 8.0
"""How long a child may take to end before it is killed."""


class ChildFailed(HerzError):
    """A process of the demo ended, or did not get ready in time."""


class Child:
    """One process, `python -m herz.cli.demo.<name>`, in a folder that also takes its standard error, as a log."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.ready: dict[str, Any] = {}
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, name: str, *arguments: str, folder: Path) -> Self:
        """The process, once it has said that it is ready. `ChildFailed` with the end of its log otherwise."""
        log = folder / f"{name}.log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                f"{__package__}.{name}",
                *arguments,
                cwd=folder,
                env=_environment(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C is for the parent alone, which stops them in order
            )
        child = cls(name, process, log)
        try:
            child.ready = await asyncio.wait_for(child.line(), READY_S)
        except TimeoutError:
            await child.kill()
            raise ChildFailed(f"the {name} was not ready after {READY_S:g} s{child.said()}") from None
        except BaseException:
            await child.kill()
            raise
        return child

    async def line(self) -> dict[str, Any]:
        """What the child says next. `ChildFailed` when it has ended instead."""
        assert self._process.stdout is not None  # noqa: S101  it was started with a pipe
        text = await self._process.stdout.readline()
        if not text:
            await self.ended(within_s=1.0)  # so that its log is whole, and nobody kills what ends by itself
            raise ChildFailed(f"the {self.name} ended unasked{self.said()}")
        said: dict[str, Any] = json.loads(text)
        return said

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """Everything that the child says, until it ends."""
        assert self._process.stdout is not None  # noqa: S101  it was started with a pipe
        async for text in self._process.stdout:
            yield json.loads(text)

    def said(self) -> str:
        """The last lines of its log, each on a line of its own; empty when there are none."""
        try:
            lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return "".join(f"\n  {line}" for line in ["its last words:", *lines[-12:]]) if lines else ""

    async def ended(self, *, within_s: float) -> bool:
        """Whether it has ended, or does within a time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), within_s)
        return self._process.returncode is not None

    async def end(self) -> None:
        """Return when it has ended."""
        await self._process.wait()

    def dismiss(self) -> None:
        """Ask it to end, by ending its standard input."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def stop(self) -> None:
        """Ask it to end, and see to it that it does."""
        self.dismiss()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it at once."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


def _environment() -> dict[str, str]:
    """The parent's environment, in which a child finds the same Herz although its folder is another."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    package = str(Path(herz.__file__).resolve().parent.parent)
    if package not in (
        *site.getsitepackages(),
        site.getusersitepackages(),
    ):  # those are found, behind the standard library
        paths.insert(0, package)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


# --- in the child ---------------------------------------------------------------------------------


def announce(**said: Any) -> None:
    """Say `said` to the parent."""
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


async def dismissed() -> None:
    """Return when the parent asks this process to end, or has gone."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        await reader.read()
    finally:
        transport.close()
