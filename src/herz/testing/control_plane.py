"""A real `herz serve` for tests and examples: a process of its own, on a port that stays its own."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Final, Self

from herz.testing.processes import Port, ServerFailed, ServerProcess, Workspace, server_environment

READY_S: Final = 30.0
"""How long it may take until it listens: a loaded machine imports slowly."""
POLL_S: Final = 0.01


class ControlPlaneServer:
    """One `herz serve`. It keeps its address and its store over `stop`, `kill` and another `start`.

    `store` is by default an embedded one in a folder of its own; `arguments` are further ones of `herz serve`, with
    `scheme` "https" for an encrypted address. Blocking; `with` starts it, and leaves nothing behind.
    """

    def __init__(self, *arguments: str, store: str | None = None, scheme: str = "http") -> None:
        self._workspace = Workspace("serve")
        self._port = Port()
        self.url: Final = f"{scheme}://{self._port.address}"
        self.store: Final = f"sqlite:///{self._workspace.path / 'herz.db'}" if store is None else store
        self.told: dict[str, Any] = {}
        self._log = self._workspace.path / "serve.log"
        command = [sys.executable, "-P", "-m", "herz.cli.main", "serve", "--json", "--listen", self.url]
        package = str(Path(__file__).parents[2])
        self._process = ServerProcess(
            [*command, "--store", self.store, *arguments],
            log=self._log,
            environment={**server_environment("HERZ_"), "PYTHONPATH": package},
        )

    @property
    def source(self) -> str:
        """`herz://127.0.0.1:PORT`, to which a source adds `/app`."""
        return f"herz{'+tls' if self.url.startswith('https') else ''}://{self._port.address}"

    @property
    def token(self) -> str | None:
        """The first token, where `--require-tokens` had one made."""
        token: str | None = self.told.get("token")
        return token

    @property
    def running(self) -> bool:
        """Whether its process exists; a paused one does."""
        return self._process.running

    def start(self) -> Self:
        """Start it, and wait until it listens. `ServerFailed` with the end of its log when it does not."""
        before = self._said()
        self._process.start()
        deadline = time.monotonic() + READY_S
        while len(said := self._said()) == len(before):
            if not self._process.running or time.monotonic() > deadline:
                raise ServerFailed(f"herz serve does not listen:{self._process.said()}")
            time.sleep(POLL_S)
        self.told = {**said[-1], "token": said[-1].get("token") or self.told.get("token")}
        return self

    def _said(self) -> list[dict[str, Any]]:
        """What it told each time that it listened."""
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.startswith('{"listening"') and line.endswith("\n")]

    def stop(self) -> None:
        """End it in order, as SIGTERM does: streams are told, requests under way are finished."""
        self._process.stop()

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        self._process.kill()

    def pause(self) -> None:
        """Stop it where it is (SIGSTOP): its connections stay open, and silent."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on."""
        self._process.resume()

    def close(self) -> None:
        """End it, and remove its folder."""
        self._process.kill()
        self._port.close()
        self._workspace.close()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()
