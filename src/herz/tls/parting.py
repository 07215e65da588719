"""Letting go of aiohttp's connections at once.

Over TLS a connection that is closed stays until the server has said goodbye: for up to half a minute where that is
silent or frozen, and longer than the loop may live. What is let go of here was read to its end, or is not wanted any
more, so it is broken off.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


def break_off(response: aiohttp.ClientResponse) -> None:
    """Break off what still arrives of `response`; nothing where it has ended."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


async def close_session(session: aiohttp.ClientSession) -> None:
    """Close `session` and its connections. Harmless twice."""
    if session.connector is not None:
        await session.connector.close(abort_ssl=True)
    await session.close()
    await asyncio.sleep(0)  # transports tell of their end in the loop's next step, which may be its last
