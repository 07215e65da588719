"""What happens in one rollout, as lines of JSON: how it stands, then every change of its record, until it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec

from herz.errors import HerzError
from herz.server.problems import body_of
from herz.server.rollouts.book import Stored, stored
from herz.store.base import EventType, Store
from herz.store.plane import rollout_key

ALIVE_S: Final = 10.0
"""Seconds after which a silent stream says that it is alive."""


async def events(
    store: Store,
    app: str,
    namespace: str,
    begun: Stored,
    *,
    closing: asyncio.Event,
    check: Callable[[], Awaitable[object]],
) -> AsyncIterator[bytes]:
    """Lines for a follower of the rollout that stands as `begun`; ends when it is over or the server is `closing`.

    `check` is awaited before each sign of life; what it raises ends the stream.
    """
    yield _line("rollout", revision=begun.revision, rollout=begun.value)
    if begun.value.over:
        yield _line("end")
        return
    changes = _changes(store, rollout_key(app, namespace, begun.value.id), begun.revision)
    pulled = asyncio.ensure_future(anext(changes))
    ended = asyncio.create_task(closing.wait())
    try:
        while True:
            await asyncio.wait({pulled, ended}, timeout=ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                yield _line("end", problem={"kind": "closing", "what": "the server stops; ask another one"})
                return
            if not pulled.done():
                await check()
                yield _line("alive")
                continue
            found = pulled.result()
            yield _line("rollout", revision=found.revision, rollout=found.value)
            if found.value.over:
                yield _line("end")
                return
            pulled = asyncio.ensure_future(anext(changes))
    except HerzError as error:
        yield _line("end", problem=body_of(error)[0])
    finally:
        pulled.cancel()
        ended.cancel()
        await asyncio.wait({pulled, ended})  # a generator that is still at work cannot be closed
        await changes.aclose()


async def _changes(store: Store, key: str, after: int) -> AsyncGenerator[Stored, None]:
    async with store.watch(key, after) as items:
        async for item in items:
            for event in getattr(item, "events", ()):
                if event.entry.key == key and event.type is EventType.PUT:
                    yield stored(event.entry)


def _line(kind: str, **facts: Any) -> bytes:
    return msgspec.json.encode({"type": kind, **facts}) + b"\n"
