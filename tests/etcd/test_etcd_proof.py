"""On servers whose progress notices may lie, a probe proves nothing while the watch is still catching up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from herz.store.etcd.messages import message
from herz.store.etcd.proof import MANY, Prober

WATCH = 1


class Server:
    """Answers each probe at revision 10, 11, …; before the refusal of one come the `events` that it is told of."""

    def __init__(self, events: dict[int, list[Any]]) -> None:
        self.events = events
        self.probes = 0
        self.prober = Prober(self, "3.5.1", WATCH)  # type: ignore[arg-type]  # all that a prober asks of its watch

    def create_request(self, watch_id: int, start: int) -> int:
        return watch_id

    async def send(self, request: Any) -> None:
        if not isinstance(request, int):
            return  # a probe that is cancelled
        self.probes += 1
        created = message("WatchResponse")(watch_id=request, created=True)
        created.header.revision = 9 + self.probes
        refused = message("WatchResponse")(watch_id=request, canceled=True)
        for response in [created, *self.events.get(self.probes, ()), refused]:
            asyncio.get_running_loop().call_soon(self.prober.takes, response)

    async def answered(self, answer: asyncio.Future[Any]) -> Any:
        return await answer


def response(revision: int, of: int) -> Any:
    """An event of revision `of`, sent when the server was at `revision`."""
    found = message("WatchResponse")(watch_id=WATCH)
    found.header.revision = revision
    found.events.add().kv.mod_revision = of
    return found


@pytest.mark.parametrize(
    ("events", "probes"),
    [
        pytest.param({}, 2, id="nothing"),
        pytest.param({1: [response(10, 5)]}, 2, id="late, before the first refusal"),
        pytest.param({2: [response(10, 10)]}, 2, id="in time"),
        pytest.param({2: [response(10, 5)]}, 3, id="late, between two refusals"),
        pytest.param({2: [response(10, 5)], 3: [response(11, 6)]}, 4, id="late twice"),
        pytest.param({2: [response(10, 10)] * MANY}, 3, id="so many that the queue may have been full"),
    ],
)
async def test_one_more_probe_is_sent_while_events_come_late_between_two(events: dict[int, list[Any]], probes: int):
    server = Server(events)
    for before in (0, probes):  # the next proof counts anew
        assert await server.prober.proof() == before + 10 + probes - 2
        assert server.probes == before + probes
        server.events = {before + probes + at: found for at, found in events.items()}


async def test_what_comes_while_nothing_is_asked_for_does_not_count():
    server = Server({})
    await server.prober.proof()
    for _ in range(MANY):
        server.prober.takes(response(20, 5))
    await server.prober.proof()
    assert server.probes == 4
