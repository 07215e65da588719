"""Alerts reach people at least once, and what cannot be delivered is known."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest
from aiohttp import web

from herz.errors import MissingExtra, UsageError
from herz.server.rollouts.alerts import ATTEMPTS, Alert, Alerts, Webhook, posted, target
from herz.store.base import Txn
from herz.store.plane import ALERTS
from herz.testing.memory_store import MemoryStore

ALERT = Alert(
    kind="rolled-back",
    app="pay",
    namespace="default",
    rollout="r3",
    release=13,
    text="pay-2 runs another fingerprint.",
    time=datetime(2026, 1, 1, tzinfo=UTC),
)


class Sending:
    """A running sender and what it could not deliver."""

    def __init__(self, store, *targets) -> None:
        self.undelivered: list[tuple[Alert, str]] = []
        self.waits: list[float] = []
        self.task = asyncio.create_task(Alerts(store, targets, self.failed, sleep=self.sleep, chance=lambda: 0.5).run())

    async def failed(self, alert: Alert, why: str) -> None:
        self.undelivered.append((alert, why))

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


@pytest.fixture
async def store():
    store = MemoryStore()
    yield store
    await store.close()


@pytest.fixture
async def sending(store):
    begun: list[Sending] = []

    def begin(*targets) -> Sending:
        begun.append(Sending(store, *targets))
        return begun[-1]

    yield begin
    for one in begun:
        await one.stop()


async def post(store, alert: Alert = ALERT, name: str = "r3-rolled-back") -> None:
    await store.txn(Txn(then=(posted(alert, name),)))


def gone(store):
    return lambda: not any(key.startswith(ALERTS) for key in store.place.state)


async def test_a_webhook_is_sent_what_happened(store, sending, place, outbound, eventually):
    await post(store)
    sending(Webhook(place.url + "/T0K3N", outbound))
    await eventually(gone(store))
    said = json.loads(place.asked[0][2])
    assert said["title"] == "pay/default: rollout r3 was rolled back"
    assert (said["kind"], said["release"], said["rollout"]) == ("rolled-back", 13, "r3")
    assert said["text"].endswith("pay-2 runs another fingerprint.")


async def test_an_alert_that_comes_later_is_sent_too(store, sending, place, outbound, eventually):
    sending(Webhook(place.url, outbound))
    await post(store, name="a")
    await eventually(lambda: len(place.asked) == 1)
    await post(store, name="b")
    await eventually(lambda: len(place.asked) == 2)
    await eventually(gone(store))


async def test_a_target_that_fails_is_tried_again_with_back_off(store, sending, place, outbound, eventually):
    place.answer = lambda request, body: web.Response(status=500) if len(place.asked) < 3 else None
    one = sending(Webhook(place.url, outbound))
    await post(store)
    await eventually(gone(store))
    assert len(place.asked) == 3
    assert one.waits == [1.5, 2.5]
    assert not one.undelivered


async def test_what_cannot_be_delivered_is_told_once_and_let_go(store, sending, place, outbound, eventually):
    place.status = 500
    one = sending(Webhook(place.url, outbound))
    await post(store)
    await eventually(gone(store))
    assert len(place.asked) == ATTEMPTS
    ((alert, why),) = one.undelivered
    assert alert == ALERT
    assert "answered 500" in why


async def test_one_target_that_fails_keeps_no_other_from_its_alert(store, sending, place, outbound, eventually):
    class Broken:
        name = "broken"

        async def send(self, alert):
            raise RuntimeError("a plug-in's bug")

    one = sending(Broken(), Webhook(place.url, outbound))
    await post(store)
    await eventually(gone(store))
    assert len(place.asked) == 1
    assert one.undelivered[0][1] == "broken: RuntimeError"


async def test_an_alert_survives_its_sender(store, sending, place, outbound, eventually):
    place.hold.clear()
    one = sending(Webhook(place.url, outbound))
    await post(store)
    await eventually(lambda: place.asked)
    await one.stop()
    assert not gone(store)()
    place.hold.set()
    sending(Webhook(place.url, outbound))
    await eventually(gone(store))
    assert len(place.asked) == 2


async def test_chat_services_are_reached_through_apprise(store, sending, place, outbound, eventually):
    sending(target(place.url.replace("http://", "json://"), outbound))
    await post(store)
    await eventually(gone(store))
    said = json.loads(place.asked[0][2])
    assert said["title"] == "pay/default: rollout r3 was rolled back"
    assert said["message"] == "pay-2 runs another fingerprint."


@pytest.mark.parametrize("url", ["json://example.com/hook", "http://example.com/hook", "ntfy://ntfy.example.com/t"])
def test_alerts_are_not_sent_where_others_read_along(url, outbound):
    with pytest.raises(UsageError, match="encrypted"):
        target(url, outbound)


def test_an_address_of_no_service_is_refused_and_not_shown(outbound):
    with pytest.raises(UsageError, match=r"^nosuch://… is no address") as caught:
        target("nosuch://s3cret", outbound)
    assert "s3cret" not in str(caught.value)


def test_without_the_extra_the_remedy_is_the_line_to_type(outbound, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    with pytest.raises(MissingExtra, match=r"pip install 'herz\[alerts\]'"):
        target("slack://a/b/c", outbound)
