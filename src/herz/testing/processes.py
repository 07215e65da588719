"""Server processes for tests: their ports, their folders and their end.

A server started here never outlives the Python process that started it, not even one that was killed: the kernel
sends it SIGKILL (`PR_SET_PDEATHSIG`, Linux). Its folder is removed with it, or by the next run if this one was killed.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

from herz.errors import HerzError

LOG_FIRST: Final = 3
LOG_LAST: Final = 9
"""How many of a server's first and last lines an error quotes."""
STALE_S: Final = 60.0
"""How old a folder without a lock must be before it counts as left behind."""


class ServerFailed(HerzError):
    """A test server did not start, ended by itself, or refused a command."""


class Port:
    """A free TCP port of 127.0.0.1 that stays ours until `close`, whether a server listens on it or not.

    A socket is kept bound to it, with SO_REUSEADDR and without listening: Linux then gives the port to nobody who asks
    for a free one, but lets a server that sets SO_REUSEADDR (Go, Java and asyncio do) bind and listen. While none
    does, connections are refused.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind((host, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.host = host
        self.number: Final[int] = self._socket.getsockname()[1]

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"{self.host}:{self.number}"

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()


class Workspace:
    """A folder in memory (/dev/shm) if there is one, in the temporary folder otherwise; `close` removes it.

    What a killed run has left behind is removed by the next one: every folder is locked (flock) while in use.
    """

    def __init__(self, name: str) -> None:
        prefix = f"herz-{name}-"
        memory = Path("/dev/shm")  # noqa: S108  mkdtemp makes a folder of our own in it, mode 0700
        root = memory if memory.is_dir() and os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
        _sweep(root, prefix)
        self.path: Final = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
        lock = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self._end = weakref.finalize(self, _remove, self.path, lock, os.getpid())

    def close(self) -> None:
        """Remove the folder and all that is in it; calling it again does nothing."""
        self._end()


class ServerProcess:
    """A program that can be started, paused, killed and started again; its output goes to the file `log`.

    The methods block until the process is where they say, which takes milliseconds; all but `stop`, which waits until
    the program has ended in order. They may be called from any thread, but not from two at once.
    """

    def __init__(self, arguments: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.arguments = tuple(arguments)
        self.log = log
        self.paused = False
        self._environment = dict(os.environ if environment is None else environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether the process exists; a paused one does."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the program if it is not running. `ServerFailed` when it cannot be executed."""
        if not self.running:
            self.paused = False
            self._process = _spawner().submit(self._spawn).result()
            _running.add(self)

    def _spawn(self) -> subprocess.Popen[bytes]:
        guard = shutil.which("setpriv")  # util-linux; execs, so that the process id is the server's
        command = [guard, "--pdeathsig", "KILL", *self.arguments] if guard else list(self.arguments)
        with self.log.open("ab") as log:
            try:
                return subprocess.Popen(  # noqa: S603  a server that the caller named
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    cwd=self.log.parent,
                    start_new_session=True,  # Ctrl-C is for the tests, which stop their servers in order
                )
            except OSError as error:
                raise ServerFailed(f"{self.arguments[0]} cannot be executed: {error.strerror}") from error

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._end(signal.SIGKILL, 10.0)

    def stop(self, timeout_s: float = 10.0) -> None:
        """SIGTERM, and wait for the end; SIGKILL after `timeout_s`. A paused process is resumed first."""
        self.resume()
        self._end(signal.SIGTERM, timeout_s)

    def _end(self, number: signal.Signals, timeout_s: float) -> None:
        if self._process is None:
            return
        self.send(number)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.paused = False
        _running.discard(self)

    def pause(self) -> None:
        """SIGSTOP: its connections stay open and silent, until `resume`. Waits until it has stopped."""
        self.send(signal.SIGSTOP)
        self.paused = self.running
        deadline = time.monotonic() + 5.0
        while self.running and _state(self.pid) not in "Tt" and time.monotonic() < deadline:
            time.sleep(0.001)

    def resume(self) -> None:
        """SIGCONT: go on after `pause`."""
        if self.paused:
            self.send(signal.SIGCONT)
            self.paused = False

    def said(self) -> str:
        """The first and the last lines of the log, for an error message."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        if len(lines) > LOG_FIRST + LOG_LAST:
            lines = [*lines[:LOG_FIRST], "...", *lines[-LOG_LAST:]]
        return "".join(f"\n    {line[:300]}" for line in lines)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


_running: Final[weakref.WeakSet[ServerProcess]] = weakref.WeakSet()
_executor: ThreadPoolExecutor | None = None


def _spawner() -> ThreadPoolExecutor:
    """One thread that starts every server: PDEATHSIG fires when the *thread* that forked ends, so it has to stay."""
    global _executor
    if _executor is None:
        _executor = ThreadPoolExecutor(1, thread_name_prefix="herz-spawner")
    return _executor


def _forget_after_fork() -> None:
    # The servers are the parent's, and the child has no spawner thread.
    global _executor
    _executor = None
    _running.clear()


@atexit.register
def _kill_all() -> None:
    for process in list(_running):
        with contextlib.suppress(OSError):
            process.kill()


os.register_at_fork(after_in_child=_forget_after_fork)


def _state(pid: int | None) -> str:
    # The state follows the command in parentheses, which may hold anything (proc(5)). "T" where there is no /proc.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "T"


def _remove(folder: Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # a forked child leaves its parent's folder alone
        shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _sweep(root: Path, prefix: str) -> None:
    for folder in root.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if (folder / ".lock").exists():
                lock = os.open(folder / ".lock", os.O_RDWR)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(lock)
            elif time.time() - folder.stat().st_mtime > STALE_S:
                shutil.rmtree(folder, ignore_errors=True)


def server_environment(*without: str) -> dict[str, str]:
    """The environment for a server, without the variables that begin with any of `without`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(without)}
