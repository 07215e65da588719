"""The control plane's delivery: releases to a thousand connected instances, proofs of what they run, idle streams.

`python -m benchmarks.delivery`. One `herz serve` on SQLite in a process of its own, load generators in others.
"""

from __future__ import annotations

import http.client
import json
import random
import statistics
import time
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks._report import Row, print_table
from benchmarks.instances import process_cpu, process_memory
from benchmarks.workload import Process, quantile, say
from herz.testing.control_plane import ControlPlaneServer

INSTANCES: Final = 1_000
GENERATORS: Final = 2
RELEASES: Final = 30
VERIFICATIONS: Final = 60
STREAMS: Final = 10_000
KEYS: Final = 100
"""What a release holds; one of them changes."""


class Api:
    """The control plane's API, blocking."""

    def __init__(self, url: str, app: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self._place = f"/api/v1/apps/{app}/namespaces/default"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body)
        self._connection.request(method, self._place + path, data, {"content-type": "application/json"})
        response = self._connection.getresponse()
        answer = json.loads(response.read() or b"null")
        assert response.status < 300, answer
        return answer

    def close(self) -> None:
        self._connection.close()

    def draft(self, value: int) -> None:
        lines = "".join(f"key{number}: {number}\n" for number in range(KEYS))
        text = f"{lines}service:\n  mark: {value}\n"
        content = {"layers": [{"name": "application", "text": text}]}
        try:
            revision = self.ask("GET", "/draft")["revision"]
        except AssertionError:
            revision = 0
        self.ask("PUT", "/draft", {"content": content, "expect": revision, "message": "a benchmark"})

    def release(self) -> int:
        return int(self.ask("POST", "/releases", {"message": "a benchmark"})["number"])


def thousand(instances: int, releases: int, verifications: int) -> list[Row]:
    """Releases and proofs with all instances connected."""
    each = instances // GENERATORS
    with ControlPlaneServer() as server:
        pid = server._process.pid
        assert pid is not None
        api = Api(server.url, "pay")
        api.draft(0)
        api.release()
        generators = [Process("herz_instances", f"{server.source}/pay", at * each, each) for at in range(GENERATORS)]
        try:
            say(f"{instances} instances connect")
            begin = time.monotonic()
            for generator in generators:
                generator.ask("start")
            connecting_s = time.monotonic() - begin
            _settled(api, each * GENERATORS)
            say(f"{releases} releases")
            last, every, cpu = _releases(api, generators, pid, releases)
            say(f"{verifications} verifications")
            proofs, wrong, proving = _verifications(api, generators, pid, each * GENERATORS, verifications)
            for generator in generators:
                generator.ask("stop")
        finally:
            for generator in generators:
                generator.__exit__(None, None, None)
            api.close()
    p99 = quantile(every, 0.99)
    mean, worst = statistics.mean(proofs), quantile(proofs, 0.99)
    server_s, load_s = cpu
    return [
        Row(
            f"release → applied on {instances:,} connected instances, p99",
            p99,
            "s",
            target="≤ 1 s",
            ok=p99 <= 1,
            note=f"from POST /releases on; p50 {statistics.median(every):.3f} s, the last one of each release p50 "
            f"{statistics.median(last):.3f} s, worst {max(last):.3f} s; CPU for a release: server {server_s:.2f} s, "
            f"{GENERATORS} load generators {load_s:.2f} s together, on the same cores; connecting took {connecting_s:.1f} s",
        ),
        Row(
            f"verify_atomicity over {instances:,} instances, mean",
            mean * 1e3,
            "ms",
            target="≤ 200 ms",
            ok=mean <= 0.2 and not wrong,
            note=f"POST /verify, answered from what each runs; p50 {statistics.median(proofs) * 1e3:.0f} ms; "
            f"{len(proofs)} of them, {wrong} not verified; CPU for each: server {proving[0]:.2f} s, load generators "
            f"{proving[1]:.2f} s together, on the same cores",
        ),
        Row(
            f"verify_atomicity over {instances:,} instances, p99",
            worst * 1e3,
            "ms",
            target="≤ 500 ms",
            ok=worst <= 0.5 and not wrong,
        ),
    ]


def _settled(api: Api, count: int) -> None:
    """Wait until every instance has reported that it runs what it should."""
    deadline = time.monotonic() + 60
    while True:
        found = api.ask("GET", "/instances")
        if len(found) == count and all(one.get("agrees", True) for one in found):
            return
        assert time.monotonic() < deadline, f"{len(found)} of {count} instances have reported"
        time.sleep(0.1)


def _releases(
    api: Api, generators: list[Process], pid: int, releases: int
) -> tuple[list[float], list[float], tuple[float, float]]:
    """Seconds until the last instance ran each release, those of every instance, and CPU seconds of one release."""
    last: list[float] = []
    every: list[float] = []
    server_s = load_s = 0.0
    choose = random.Random(5)
    count = 0
    for at in range(releases):
        api.draft(at + 1)
        time.sleep(choose.uniform(0.5, 1.0))
        before = process_cpu(pid), sum(generator.ask("cpu") for generator in generators)
        begin = time.monotonic()
        number = api.release()
        seconds = [at - begin for generator in generators for at in generator.ask("applied", number)]
        last.append(max(seconds))
        every += seconds
        count += len(seconds)
        _settled(api, len(seconds))
        server_s += process_cpu(pid) - before[0]
        load_s += sum(generator.ask("cpu") for generator in generators) - before[1]
    return last, every, (server_s / releases, load_s / releases)


def _verifications(
    api: Api, generators: list[Process], pid: int, instances: int, verifications: int
) -> tuple[list[float], int, tuple[float, float]]:
    """Seconds of each, how many said no, and CPU seconds of one: of the server, and of the instances."""
    number = api.ask("GET", "/releases?limit=1")[0]["number"]
    found: list[float] = []
    wrong = 0
    before = process_cpu(pid), sum(generator.ask("cpu") for generator in generators)
    for _ in range(verifications):
        time.sleep(0.05)
        begin = time.monotonic()
        verdict = api.ask("POST", "/verify", {"config_version": number, "window_s": 5.0})
        found.append(time.monotonic() - begin)
        wrong += not verdict["verified"] or verdict["members"] != instances
    server_s = process_cpu(pid) - before[0]
    load_s = sum(generator.ask("cpu") for generator in generators) - before[1]
    return found, wrong, (server_s / verifications, load_s / verifications)


def idle(streams: int, settle_s: float = 5.0) -> list[Row]:
    """What the server holds for each stream that only waits; `settle_s` seconds pass before each look."""
    with ControlPlaneServer() as server:
        pid = server._process.pid
        assert pid is not None
        port = urlsplit(server.url).port
        with Process("herz_idle", port, 0, 100) as few, Process("herz_idle", port, 100, streams) as many:
            few.ask("start")
            time.sleep(settle_s)  # what is loaded lazily is there now
            before = process_memory(pid)
            say(f"{streams} streams connect")
            opening_s = many.ask("start")
            time.sleep(settle_s)
            cpu, begin = process_cpu(pid), time.monotonic()
            time.sleep(2 * settle_s)  # three rounds of `alive` to everybody
            busy = (process_cpu(pid) - cpu) / (time.monotonic() - begin)
            each = (process_memory(pid) - before) / streams
            many.ask("report")
            time.sleep(settle_s)
            reporting = (process_memory(pid) - before) / streams
            standing = many.ask("alive")
            many.ask("stop")
            few.ask("stop")
    return [
        Row(
            f"idle streams, {streams:,}: server memory each",
            each,
            "KiB",
            target="≤ 32 KiB",
            ok=each <= 32 and standing == streams,
            note=f"{standing:,} stand; resident memory, {reporting:.1f} KiB once each has reported; proof of life every 3.3 s to each of them takes {busy * 100:.0f} % "
            f"of a core; all connected in {opening_s:.1f} s",
        )
    ]


def run(
    *,
    instances: int = INSTANCES,
    releases: int = RELEASES,
    verifications: int = VERIFICATIONS,
    streams: int = STREAMS,
    settle_s: float = 5.0,
) -> list[Row]:
    return thousand(instances, releases, verifications) + idle(min(streams, _descriptors() - 1_000), settle_s)


def _descriptors() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


if __name__ == "__main__":
    print_table(run())
