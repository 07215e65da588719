"""Checks watch a batch: health URLs, and metrics of canary against baseline in a real Prometheus."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from herz.errors import SourceUnavailable, UsageError
from herz.release.channel import ReleaseRef
from herz.release.member import Member
from herz.release.plan import Plan
from herz.release.report import Report, Status
from herz.release.rollout import Check, Phase, Rollout
from herz.release.trend import POINTS
from herz.server.rollouts.checks import Checks, look_of, options_of
from herz.server.rollouts.prometheus import QueryRefused, samples
from herz.server.rollouts.standing import RolloutSettings
from herz.testing.memory_store import MemoryStore
from herz.testing.prometheus import SCRAPE_S, Prometheus

MEANS = {"good.1": 100.0, "good.2": 100.0, "bad.1": 140.0, "bad.2": 140.0, "base.1": 100.0, "base.2": 100.0}


class Exporter(BaseHTTPRequestHandler):
    """Latencies as an application would expose them: another value at each scrape."""

    chance = random.Random(4)

    def do_GET(self) -> None:
        lines = [f'request_ms{{instance="{name}"}} {self.chance.gauss(mean, 5)}' for name, mean in MEANS.items()]
        lines += ["errors_ratio NaN", "endless_ms +Inf"]
        body = ("\n".join(lines) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    if not Prometheus.available():
        pytest.skip("no Prometheus: tools/servers installs it")
    exporter = ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    thread = threading.Thread(target=exporter.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    with Prometheus({f"127.0.0.1:{exporter.server_address[1]}": {}}) as server:
        yield server
    exporter.shutdown()
    exporter.server_close()
    thread.join()


REF = ReleaseRef(number=2, digest="sha256:" + "1" * 64, fingerprint="sha256:" + "2" * 64)


def rollout(since: datetime, **plan: Any) -> Rollout:
    return Rollout(
        id="r1",
        app="pay",
        namespace="default",
        release=REF,
        stable=None,
        plan=Plan(**{"check_s": 1.0, **plan}),
        author="ann",
        created=since,
        since=since,
        step=5,
        phase=Phase.BAKING,
    )


def members(*canary: str, **labels: str) -> list[Member]:
    report = Report(
        instance="x", app="pay", namespace="default", status=Status.APPLIED, time=datetime.now(UTC), labels=labels
    )
    batch = [Member(name, "r1-b1", "r1", report) for name in canary]
    return [*batch, Member("base.1", report=report), Member("base.2", report=report)]


def metric(prometheus: Prometheus, **options) -> Check:
    asked = {
        "server": prometheus.url,
        "canary": 'request_ms{instance=~"$canary"}',
        "baseline": 'request_ms{instance=~"$baseline"}',
        "step_s": SCRAPE_S,
        **options,
    }
    return Check(name="latency", kind="prometheus", options={k: v for k, v in asked.items() if v is not None})


@pytest.fixture
async def since(prometheus, outbound) -> datetime:
    """The begin of a span in which every series has twenty samples by now."""
    query = 'count_over_time(request_ms{instance="good.1"}[1h])'
    while True:
        now = datetime.now(UTC)
        begin = now - timedelta(seconds=20 * SCRAPE_S)
        counted = await samples(outbound, prometheus.url, query, now, now, 1)
        if counted and counted[-1].value >= 25:
            return begin
        await asyncio.sleep(SCRAPE_S)


@pytest.mark.slow
async def test_a_canary_like_the_baseline_passes(prometheus, outbound, since):
    found = await Checks(outbound).look(metric(prometheus), rollout(since), members("good.1", "good.2"), now())
    assert (found.outcome, found.step, found.name) == ("PASS", 5, "latency")
    assert len(found.points) == POINTS
    for point in found.points:
        assert point.canary is not None
        assert point.baseline is not None
        assert 80 < point.canary < 120
        assert 80 < point.baseline < 120
        assert since.timestamp() - 0.01 <= point.time <= now().timestamp()  # to the millisecond


@pytest.mark.slow
async def test_a_canary_that_is_worse_fails(prometheus, outbound, since):
    found = await Checks(outbound).look(metric(prometheus), rollout(since), members("bad.1", "bad.2"), now())
    assert found.outcome == "FAIL"
    assert found.detail


@pytest.mark.slow
async def test_too_few_samples_are_inconclusive(prometheus, outbound):
    soon = now() - timedelta(seconds=2 * SCRAPE_S)
    found = await Checks(outbound).look(metric(prometheus), rollout(soon), members("bad.1"), now())
    assert found.outcome == "INCONCLUSIVE"
    assert "samples of the canary, 8 are needed" in found.detail


@pytest.mark.slow
async def test_a_threshold_holds_without_a_baseline(prometheus, outbound, since):
    check = metric(prometheus, baseline=None, most=120)
    assert (await Checks(outbound).look(check, rollout(since), members("good.1"), now())).outcome == "PASS"
    found = await Checks(outbound).look(check, rollout(since), members("bad.1"), now())
    assert (found.outcome, "at most 120 is allowed" in found.detail) == ("FAIL", True)
    check = metric(prometheus, baseline=None, least=120)
    assert (await Checks(outbound).look(check, rollout(since), members("good.1"), now())).outcome == "FAIL"


@pytest.mark.slow
async def test_what_is_no_number_is_no_sample_and_infinity_is_the_worst(prometheus, outbound, since):
    check = metric(prometheus, canary="errors_ratio", baseline=None, most=1)
    assert (await Checks(outbound).look(check, rollout(since), members(), now())).outcome == "INCONCLUSIVE"
    check = metric(prometheus, canary="endless_ms")
    assert (await Checks(outbound).look(check, rollout(since), members(), now())).outcome == "FAIL"


@pytest.mark.slow
async def test_a_query_that_prometheus_refuses_is_inconclusive_and_says_why(prometheus, outbound, since):
    found = await Checks(outbound).look(metric(prometheus, canary="rate("), rollout(since), members("a"), now())
    assert found.outcome == "INCONCLUSIVE"
    assert "parse error" in found.detail
    with pytest.raises(QueryRefused):
        await samples(outbound, prometheus.url, "rate(", since, now(), 1)


async def test_a_prometheus_that_is_away_is_inconclusive(outbound):
    check = Check(
        name="l",
        kind="prometheus",
        options={"server": "http://127.0.0.1:9", "canary": "up", "least": 1},
    )
    found = await Checks(outbound).look(check, rollout(now()), members("a"), now())
    assert (found.outcome, "Cannot connect" in found.detail) == ("INCONCLUSIVE", True)


async def test_what_is_no_prometheus_is_told(place, outbound):
    place.body = b"<html>"
    with pytest.raises(SourceUnavailable, match="no JSON of Prometheus"):
        await samples(outbound, place.url, "up", now(), now(), 1)


async def test_a_health_url_that_answers_well_passes(place, outbound):
    check = Check(name="h", kind="health", options={"url": place.url + "/health"})
    assert (await Checks(outbound).look(check, rollout(now()), members("a"), now())).outcome == "PASS"
    assert [path for _, path, _ in place.asked] == ["/health"]


async def test_a_health_url_is_tried_again_before_it_fails(place, outbound):
    place.status = 503
    check = Check(name="h", kind="health", options={"url": place.url, "attempts": 3, "pause_s": 0.0})
    found = await Checks(outbound).look(check, rollout(now()), members("a"), now())
    assert (found.outcome, len(place.asked)) == ("FAIL", 3)
    assert "answered 503" in found.detail


async def test_a_health_url_with_placeholders_is_asked_for_every_instance_of_the_batch(place, outbound):
    check = Check(name="h", kind="health", options={"url": place.url + "/{instance}?zone={label.zone}"})
    found = await Checks(outbound).look(check, rollout(now()), members("a", "b", zone="eu/../x?"), now())
    assert found.outcome == "PASS"
    assert sorted(path for _, path, _ in place.asked) == ["/a?zone=eu%2F..%2Fx%3F", "/b?zone=eu%2F..%2Fx%3F"]


async def test_an_instance_cannot_lead_a_health_url_elsewhere(outbound):
    check = Check(name="h", kind="health", options={"url": "http://{label.address}/"})
    found = await Checks(outbound).look(check, rollout(now()), members("a", address="10.0.0.1"), now())
    assert (found.outcome, "is not encrypted" in found.detail) == ("INCONCLUSIVE", True)


async def test_a_label_that_no_instance_has_is_inconclusive(place, outbound):
    check = Check(name="h", kind="health", options={"url": place.url + "/{label.port}"})
    assert (await Checks(outbound).look(check, rollout(now()), members("a"), now())).outcome == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        ("shell", {}, "no kind of check"),
        ("health", {}, "url"),
        ("health", {"url": "http://example.com"}, "is not encrypted"),
        ("health", {"url": "https://a", "attempts": 0}, "attempts"),
        ("health", {"url": "https://user:word@a/"}, "credentials"),
        ("prometheus", {"server": "https://p", "canary": "up"}, "compares with nothing"),
        ("prometheus", {"server": "https://p", "canary": "up", "most": 1, "step_s": 0}, "step_s"),
        ("prometheus", {"server": "https://p", "canary": "up", "most": 1, "mots": 1}, "mots"),
    ],
)
def test_a_check_that_cannot_work_is_refused_with_the_reason(kind, options, why):
    with pytest.raises(UsageError, match=why):
        options_of(Check(name="x", kind=kind, options=options))


def test_looks_are_counted_by_the_time_so_that_another_driver_goes_on_counting():
    since = datetime(2026, 1, 1, tzinfo=UTC)
    baking = rollout(since, check_s=10.0)
    assert [look_of(baking, since + timedelta(seconds=s)) for s in (-5, 0, 9, 10, 35)] == [1, 1, 1, 2, 4]


@pytest.mark.slow
async def test_a_metric_that_fails_takes_the_batch_back_and_people_are_told(
    prometheus, running, plan, place, eventually
):
    store = MemoryStore()
    async with running(store, RolloutSettings(alerts=(place.url,))) as world:
        old = await world.release("timeout: 1000ms\n", publish=True)
        release = await world.release("timeout: 3000ms\n")
        await world.join("bad.1", "bad.2", "base.1", "base.2")
        check = metric(prometheus, canary='request_ms{instance=~"bad.*"}', baseline='request_ms{instance=~"base.*"}')
        begun = await world.start(release, plan=plan(50.0, 100.0, bake_s=10, check_s=0.3), checks=(check,))
        over = await world.until(begun)
        assert over.phase is Phase.ROLLED_BACK
        assert "check latency failed" in (over.reason or "")
        assert over.batches[-1].checks[0].points, "what was seen is kept as evidence"
        assert all(instance.running == old.ref for instance in world.instances.values())
        await eventually(lambda: len(place.asked) == 2)
        assert {json.loads(body)["kind"] for _, _, body in place.asked} == {"rolling-back", "rolled-back"}
    await store.close()


def now() -> datetime:
    return datetime.now(UTC)
