"""The console's pages: the first one, a fleet of thousands, how soon a report is seen, and hundreds of open pages.

`python -m benchmarks.console`. One `herz serve` on SQLite in a process of its own; pages are asked for as a browser does,
open ones are in another process. Reports of instances that are not there are written into the store, under a lease.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import re
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from benchmarks._report import Row, print_table
from benchmarks.delivery import Api
from benchmarks.instances import process_cpu, process_memory
from benchmarks.workload import Process, quantile, say
from herz.release.record import encode
from herz.release.report import Report, Status
from herz.server.registered import registered
from herz.store.base import Put, Txn
from herz.store.plane import report_key
from herz.store.sqlite import SqliteStore
from herz.testing.control_plane import ControlPlaneServer

INSTANCES: Final = 5_000
CHANGED: Final = 100
"""Reports that change in a round."""
APART_S: Final = 1.5
"""Between two rounds: pages are told of changes that follow each other closely only so often."""
PATIENCE_S: Final = 30.0
FLEET: Final = "/console/apps/pay/default/fleet"
TOPIC: Final = "fleet:pay/default"
FILTERS: Final = (
    "",
    "q=i0471",
    "q=zone%3Deu",
    "label=zone%3Deu",
    "state=failed",
    "release=1",
    "sort=age",
    "sort=state",
)
VIEWS: Final = ("", "?q=mark", "?label=zone%3Deu", "?label=zone%3Dus", "?sort=state", "?differs=true")
_LOADED: Final = re.compile(r'(?:src|href)="(/console/static/[^"]+)"')
_IMPORTED: Final = re.compile(r'^import [^;]*?from "([^"]+)"', re.MULTILINE)


class Browser:
    """One connection to the console, as a browser has it."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def get(self, path: str, **headers: str) -> tuple[bytes, int]:
        """What is there, unpacked, and the bytes that came over the wire, headers included."""
        self._connection.request("GET", path, headers={"accept-encoding": "gzip", **headers})
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (path, answer.status)
        head = sum(len(name) + len(value) + 4 for name, value in answer.getheaders()) + 17
        if answer.getheader("content-encoding") == "gzip":
            return gzip.decompress(body), len(body) + head
        return body, len(body) + head

    def whole(self, path: str) -> int:
        """Bytes of a page and all that it loads."""
        page, total = self.get(path)
        wanted = [found for found in _LOADED.findall(page.decode()) if not found.endswith(".txt")]
        known: set[str] = set()
        while wanted:
            one = wanted.pop()
            if one in known:
                continue
            known.add(one)
            text, size = self.get(one)
            total += size
            if "/js/" in one:
                wanted += [urljoin(one, found) for found in _IMPORTED.findall(text.decode())]
        return total

    def close(self) -> None:
        self._connection.close()


class Reports:
    """Reports of instances that are not there, in the store of a server."""

    def __init__(self, server: ControlPlaneServer) -> None:
        self._loop = asyncio.new_event_loop()
        self._store = SqliteStore(server.store.removeprefix("sqlite:///"))
        self._lease = self._loop.run_until_complete(self._store.grant(3600)).id

    def write(self, numbers: range, error: str | None = None) -> float:
        """Write reports, those of a hundred instances in one transaction as a server does; when the last one was there."""
        now = datetime.now(UTC)
        for start in range(numbers.start, numbers.stop, 100):
            puts = [
                Put(report_key("pay", "default", one.instance), encode(registered(one, now, "node-1")), self._lease)
                for one in (_report(number, now, error) for number in range(start, min(start + 100, numbers.stop)))
            ]
            self._loop.run_until_complete(self._store.txn(Txn(then=puts)))
        return time.monotonic()

    def close(self) -> None:
        self._loop.run_until_complete(self._store.revoke(self._lease))
        self._loop.run_until_complete(self._store.close())
        self._loop.close()


def _report(number: int, now: datetime, error: str | None) -> Report:
    failed = error is not None or number % 50 == 0
    return Report(
        instance=f"i{number:04}",
        app="pay",
        namespace="default",
        status=Status.FAILED if failed else Status.APPLIED,
        error=error or ("100 sessions at most" if failed else None),
        time=now,
        patch_id=f"sha256:{number % 3:064}",
        config_version=1,
        digest="sha256:" + "1" * 64,
        fingerprint="sha256:" + "2" * 64,
        effective="sha256:" + "3" * 64,
        labels={"zone": ("eu", "us", "ap")[number % 3], "tenant": f"t{number % 40}", "container": "main"},
    )


def first_page(browser: Browser, repeats: int) -> list[Row]:
    """The overview."""
    took = _times(lambda: browser.get("/console/"), repeats)
    size = browser.whole("/console/") / 1024
    return [
        Row(
            "console, first page",
            statistics.median(took) * 1e3,
            "ms",
            target="≤ 100 ms",
            ok=statistics.median(took) <= 0.1,
            note=f"GET /console/ from a connected client; p99 {quantile(took, 0.99) * 1e3:.0f} ms",
        ),
        Row(
            "console, first page over the wire",
            size,
            "KiB",
            target="≤ 150 KiB",
            ok=size <= 150,
            note="headers included, with its stylesheet, scripts and icon, nothing cached",
        ),
    ]


def fleet(server: ControlPlaneServer, browser: Browser, instances: int, repeats: int) -> list[Row]:
    """The page of a fleet, whole and filtered in several ways."""
    pid = server._process.pid
    assert pid is not None
    busy = process_cpu(pid)
    took = {query: _times(lambda query=query: browser.get(f"{FLEET}?{query}"), repeats) for query in FILTERS}  # type: ignore[misc]
    every = [seconds for query in FILTERS for seconds in took[query]]
    cpu = (process_cpu(pid) - busy) / (len(every) + len(FILTERS))
    slowest = max(FILTERS, key=lambda query: statistics.median(took[query]))
    median, p99 = statistics.median(took[slowest]), quantile(every, 0.99)
    return [
        Row(
            f"fleet of {instances:,}, filtered",
            median * 1e3,
            "ms",
            target="≤ 100 ms",
            ok=median <= 0.1,
            note=f"the slowest of {len(FILTERS)} queries ({slowest or 'none'}), whole page; no filter "
            f"{statistics.median(took['']) * 1e3:.0f} ms; CPU of the server for each page {cpu * 1e3:.0f} ms",
        ),
        Row(f"fleet of {instances:,}, filtered, p99 of all", p99 * 1e3, "ms", target="≤ 100 ms", ok=p99 <= 0.1),
    ]


def _times(call: Callable[[], object], repeats: int) -> list[float]:
    call()
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return found


def seen(server: ControlPlaneServer, browser: Browser, api: Api, releases: int) -> list[Row]:
    """From a release in force on a real instance until the open page that shows it has been told and read again."""
    took = []
    with Process("herz_instances", f"{server.source}/pay", 90_000, 1) as generator:
        generator.ask("start")
        stream = Changes(server.url)
        path = f"{FLEET}?q=i90000"
        _until(lambda: b"i90000" in browser.get(path)[0])
        for at in range(releases):
            api.draft(1_000 + at)
            number = api.release()
            mark = f"releases/{number}".encode()
            while True:
                if TOPIC in stream.next():
                    page = browser.get(path, **{"x-herz-live": "1"})[0]
                    if b"should run" not in page and mark in page and b"APPLYING" not in page:
                        visible = time.monotonic()
                        break
            took.append(visible - generator.ask("applied", number)[0])
            time.sleep(0.3)
        stream.close()
        generator.ask("stop")
    p99 = quantile(took, 0.99)
    return [
        Row(
            "console: a release applied → seen in an open page, p99",
            p99 * 1e3,
            "ms",
            target="≤ 500 ms",
            ok=p99 <= 0.5,
            note=f"p50 {statistics.median(took) * 1e3:.0f} ms; {releases} releases; report, store, stream, page read again",
        )
    ]


class Changes:
    """The topics of each change, as the live stream tells them; it is open once this is made."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self._connection.request("GET", "/console/live")
        self._stream = self._connection.getresponse()
        while not self._stream.readline().startswith(b"event: hello"):
            pass

    def next(self) -> list[str]:
        """The topics of the next change."""
        kind = b""
        while line := self._stream.readline():
            if line.startswith(b"event: "):
                kind = line[7:].strip()
            elif line.startswith(b"data: ") and kind == b"changed":
                found: list[str] = json.loads(line[6:])
                return found
        raise RuntimeError("the stream has ended")

    def close(self) -> None:
        self._stream.close()
        self._connection.close()


def open_pages(server: ControlPlaneServer, browser: Browser, reports: Reports, pages: int, rounds: int) -> list[Row]:
    """Many open pages while reports change."""
    pid = server._process.pid
    assert pid is not None
    paths = [FLEET + view for view in VIEWS]
    before = process_memory(pid)
    took: list[float] = []
    lost = 0
    with Process("herz_pages", server.url, TOPIC, pages, *paths) as client:
        opened_s = client.ask("start")
        _until_quiet(client)
        holding = process_memory(pid)
        busy, begin = process_cpu(pid), time.monotonic()
        for at in range(rounds):
            mark = f"mark-{at:04}"
            client.ask("look_for", mark)
            written = reports.write(range(0, CHANGED), mark)
            _until(lambda mark=mark: mark.encode() in browser.get(paths[0])[0])  # type: ignore[misc]
            expected = [browser.get(path)[0].count(mark.encode()) for path in paths]
            found = client.ask("current", expected)
            lost += sum(one is None for one in found)
            took += [one - written for one in found if one is not None]
            time.sleep(APART_S)
        cpu = (process_cpu(pid) - busy) / (time.monotonic() - begin)
        readings, failures = client.ask("counts")
        after = process_memory(pid)
        client.ask("stop")
    p99 = quantile(took, 0.99) if took else float("inf")
    return [
        Row(
            f"console: {CHANGED} reports change → {pages} open pages show them, p99",
            p99 * 1e3,
            "ms",
            note=f"p50 {statistics.median(took or [0.0]) * 1e3:.0f} ms, {len(VIEWS)} addresses, {rounds} rounds {APART_S:g} s apart; the server "
            f"took {cpu * 100:.0f} % of a core, shared with the pages; {readings} readings, {failures} failed; all were "
            f"open in {opened_s:.1f} s",
        ),
        Row(f"console: {pages} open pages, lost", lost, "pages", target="0", ok=lost == 0 and failures == 0),
        Row(
            f"console: {pages} open pages, server memory",
            (max(holding, after) - before) / 1024,
            "MiB",
            note=f"resident, from {before / 1024:.0f} MiB on; {(holding - before) / max(pages, 1):.0f} KiB a page that waits",
        ),
    ]


def _until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "never held"
        time.sleep(0.02)


def _until_quiet(client: Process) -> None:
    """Wait until pages have read what they found new when they were opened."""
    last = -1
    deadline = time.monotonic() + PATIENCE_S
    while (now := client.ask("counts")[0]) != last:
        assert time.monotonic() < deadline, "the pages never rest"
        last = now
        time.sleep(1.0)


def run(
    *, instances: int = INSTANCES, repeats: int = 40, releases: int = 30, pages: int = 500, rounds: int = 10
) -> list[Row]:
    with ControlPlaneServer() as server:
        api, browser = Api(server.url, "pay"), Browser(server.url)
        api.draft(0)
        api.release()
        rows = first_page(browser, repeats)
        rows += seen(server, browser, api, releases)
        say(f"{instances} reports")
        reports = Reports(server)
        try:
            reports.write(range(instances))
            _until(lambda: f"{instances:,}".encode() in browser.get(f"{FLEET}?sort=name")[0])
            rows += fleet(server, browser, instances, repeats)
            say(f"{pages} open pages")
            rows += open_pages(server, browser, reports, pages, rounds)
        finally:
            reports.close()
            browser.close()
            api.close()
    return rows


if __name__ == "__main__":
    print_table(run())
