"""A connection pool as applications use them: real connections, opened when it is built, gone when it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class PoolClosed(Exception):
    """A connection was asked of a closed pool."""


class ConnectionPool:
    """`size` open sessions with the database. Whoever uses it after `aclose`, or during it, fails."""

    def __init__(self, sessions: list[Streams]) -> None:
        self.size = len(sessions)
        self.closed = False
        self._sessions = sessions
        self._idle: asyncio.LifoQueue[Streams] = asyncio.LifoQueue()
        for session in sessions:
            self._idle.put_nowait(session)

    @classmethod
    async def open(cls, host: str, port: int, size: int) -> Self:
        """The pool, once every session is open."""
        opened = await asyncio.gather(*(session(host, port) for _ in range(size)), return_exceptions=True)
        sessions = [one for one in opened if not isinstance(one, BaseException)]
        for failure in opened:
            if isinstance(failure, BaseException):
                for _, writer in sessions:
                    writer.close()
                raise failure
        return cls(sessions)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Streams]:
        """One session, for as long as it is needed; waits while all are in use."""
        if self.closed:
            raise PoolClosed("the connection pool is closed")
        session = await self._idle.get()
        try:
            yield session
        finally:
            self._idle.put_nowait(session)

    async def aclose(self) -> None:
        """Close every session, in use or not."""
        self.closed = True
        for _, writer in self._sessions:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in self._sessions), return_exceptions=True)


async def session(host: str, port: int) -> Streams:
    """One open session with the database."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"OPEN\n")
        if not (await reader.readline()).startswith(b"SESSION "):
            raise ConnectionError("the database opens no session")
    except BaseException:
        writer.close()
        raise
    return reader, writer
