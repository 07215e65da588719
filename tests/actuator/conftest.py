from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from herz import Herz

DEADLINE_S = 10.0

QUIET = "herz:\n  config:\n    watch:\n      enabled: false\n"
"""Nothing is watched, so that a refresh alone finds changes."""

OPEN = """\
management:
  endpoints.web.exposure.include: ["*"]
  endpoint.refresh.show-details: always
  endpoint.health.show-details: always
"""


class Configured:
    """A folder with a configuration that a test writes, Herz on it, and ways to ask its actuator."""

    OPEN = OPEN

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "application.yml"

    def write(self, *parts: str, watched: bool = False) -> None:
        """Replace the file, whole."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text("\n".join(parts if watched else (QUIET, *parts)))
        fresh.replace(self.file)

    def herz(self, *parts: str, watched: bool = False, more: Sequence[Any] = (), **options: Any) -> Herz:
        self.write(*parts, watched=watched)
        return Herz(self.file, *more, **{"environment": {}, **options})

    @staticmethod
    def client(app: Any, **options: Any) -> httpx.AsyncClient:
        """Requests straight into an ASGI application."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=app, **options), base_url="http://test")

    @staticmethod
    def until(condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.002)

    @staticmethod
    async def auntil(condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110  what is waited for cannot set an event
                await asyncio.sleep(0.002)

    @contextlib.contextmanager
    def served(self, app: Any, **options: Any) -> Iterator[str]:
        """`app` behind a real uvicorn on a free loopback port; its address."""
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            self.until(lambda: server.started or not thread.is_alive())
            assert server.started
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(DEADLINE_S)
            listener.close()
            assert not thread.is_alive()


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    return Configured(tmp_path)
