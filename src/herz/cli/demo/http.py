"""One keep-alive HTTP/1.1 connection: so light that the load measures the service, not its client."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """Status and decoded JSON of one answer."""

    status: int
    body: Any


class Connection:
    """Requests to one server, one after the other; connects when needed and again after a failure."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, *, timeout_s: float = 5.0) -> Answer:
        """The answer, or `OSError`, `EOFError`, `ValueError` when there is none; nothing is sent twice."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(method, path)
        except BaseException:
            self.close()
            raise

    async def _exchange(self, method: str, path: str) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        head = (f"{method} {path} HTTP/1.1", f"Host: {self._host}:{self._port}", "Content-Length: 0", "", "")
        writer.write("\r\n".join(head).encode())
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(fields["content-length"])) if "content-length" in fields else b"null"
        if fields.get("connection", "").lower() == "close":
            self.close()
        return Answer(int(status.split(" ")[1]), json.loads(body))

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
