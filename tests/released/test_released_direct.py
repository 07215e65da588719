"""Following a channel straight from a store: the report under a lease of one's own, and a name that is taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from herz import Herz
from herz.store.plane import report_key

pytestmark = pytest.mark.parametrize("kind", ["sqlite", "etcd"])
BASE = "pool:\n  size: 1\n"


async def test_an_instance_that_stops_takes_its_report_with_it(plane: Any, url: Any) -> None:
    await plane.publish(BASE)
    async with Herz(url(), environment={}):
        await plane.reported(lambda report: True)
    assert await plane.report() is None


CHILD = """
import sys, time
from herz import Herz
with Herz(sys.argv[1], environment={}) as herz:
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
async def test_the_report_of_a_killed_process_goes_with_its_lease(plane: Any, url: Any, soon: Any) -> None:
    await plane.publish(BASE)
    with subprocess.Popen([sys.executable, "-c", CHILD, url()], stdout=subprocess.PIPE) as process:  # noqa: ASYNC220
        await plane.reported(lambda report: True)
        os.kill(process.pid, signal.SIGKILL)
    gone = False
    while not gone:  # ended by the test's own time limit
        await plane.store.put("/tick", b"")  # the embedded store sweeps with each write
        gone = await plane.report() is None


async def test_a_lost_lease_is_granted_anew_and_the_report_written_again(
    plane: Any, url: Any, monkeypatch: Any
) -> None:
    await plane.publish(BASE)
    monkeypatch.setattr("herz.sources.released_store.TTL_S", 0.3)
    async with Herz(url(), environment={}):
        await plane.reported(lambda report: True)
        entry = await plane.store.get(report_key(plane.app, "default", "one"))
        await plane.store.revoke(entry.lease)
        await plane.reported(lambda report: True)
        again = await plane.store.get(report_key(plane.app, "default", "one"))
        assert again.lease != entry.lease
        await plane.store.delete(report_key(plane.app, "default", "one"))
        await plane.reported(lambda report: True)


async def test_a_second_process_of_one_name_is_told_and_reports_once_the_name_is_free(
    plane: Any, url: Any, soon: Any
) -> None:
    await plane.publish(BASE)
    other = Herz(url(), environment={"HERZ_LABELS": "who=second"})
    async with Herz(url(), environment={"HERZ_LABELS": "who=first"}):
        await plane.reported(lambda report: report.labels == {"who": "first"})
        async with other:
            await soon(lambda: any("another process reports as one" in one.what for one in other.health().warnings))
            assert other.snapshot["pool.size"] == 1
            assert (await plane.report()).labels == {"who": "first"}
            # the first one ends, and its name is free
            await plane.store.delete(report_key(plane.app, "default", "one"))
            await plane.reported(lambda report: report.labels == {"who": "second"})
