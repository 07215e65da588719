"""Metrics: what Prometheus is told, and that all of it is documented."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from herz.server import metrics


async def scraped(http, server):
    async with http.get(f"{server.url}/metrics") as said:
        assert said.status == 200
        assert said.content_type == "text/plain"
        text = await said.text()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_streams_reports_drift_and_frames_are_counted(sqlite, serving, follow, eventually, http, publisher):
    store = sqlite()
    place = (("app", "pay"), ("namespace", "default"))
    async with serving(store) as server:
        ref = await publisher(store).release("a: 1\n")
        clients = [follow(server, f"i{number}") for number in range(4)]
        await eventually(lambda: all(client.running == 1 for client in clients))
        for client in clients[:3]:
            await client.say(config_version=1, fingerprint=ref.fingerprint)
        await clients[3].say(config_version=1, fingerprint=ref.fingerprint, status="FAILED")
        await eventually(lambda: len(server.hub.namespace("pay", "default").reports) == 4)
        assert await clients[0].say("wrong") == 409
        found = await scraped(http, server)
        assert found["herz_streams", place] == 4
        assert found["herz_instances", (*place, ("status", "APPLIED"))] == 3
        assert found["herz_drift_ratio", place] == 0.25
        assert found["herz_release", tuple(sorted((*place, ("cohort", "stable"))))] == 1
        assert found["herz_frames_total", (("type", "hello"),)] == 4
        assert found["herz_frame_bytes_total", (("type", "content"),)] > 100
        assert found["herz_reports_refused_total", (("reason", "not-this-stream"),)] == 1
        assert found["herz_report_writes_total", ()] == 4
        assert found["herz_store_current", ()] == 1
    await store.close()


async def test_every_metric_is_documented(sqlite, serving, http, follow, eventually):
    store = sqlite()
    async with serving(store) as server:
        server.plane.of(metrics.Metrics).verified("pay", "default", True, 0.1)
        found = await scraped(http, server)
    documented = set(re.findall(r"`(herz_\w+)`", metrics.__doc__ or ""))
    for name, _ in found:
        base = re.sub(r"_(bucket|sum|count|created)$", "", name)
        assert base in documented or name in documented, name
    await store.close()
