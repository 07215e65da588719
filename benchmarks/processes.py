"""What runs in a process of its own: peers, and a writer. `python -m benchmarks.processes <name> <arguments>`.

`benchmarks.workload.Process` drives them: each function makes what answers the questions that come as lines.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from collections.abc import Callable
from functools import reduce
from typing import Any, Final


def dynaconf_load(path: str, key: str) -> Callable[[], float]:
    """Seconds until the file's value at `key` can be read."""
    from dynaconf import Dynaconf  # type: ignore[import-untyped]

    def answer() -> float:
        start = time.perf_counter()
        settings = Dynaconf(settings_files=[path])
        found = _attribute(settings, key)
        seconds = time.perf_counter() - start
        assert found is not None
        return seconds

    return answer


def dynaconf_read(path: str, key: str, reads: str) -> Callable[[], float]:
    """Seconds of one read of `settings.s0042.g3.port`, or of another key of three parts."""
    from dynaconf import Dynaconf

    settings = Dynaconf(settings_files=[path])
    first, second, third = key.split(".")
    assert _attribute(settings, key) is not None
    read = eval(f"lambda: settings.{first}.{second}.{third}", {"settings": settings})  # noqa: S307  ours
    nothing = eval("lambda: None")  # noqa: S307
    times = range(int(reads))

    def seconds_of(call: Callable[[], Any]) -> float:
        start = time.perf_counter()
        for _ in times:
            call()
        return time.perf_counter() - start

    return lambda: (seconds_of(read) - seconds_of(nothing)) / len(times)


def dynaconf_reloading(path: str, key: str) -> Callable[[float], dict[str, int]]:
    """How many reads find the value missing, while `reload()` runs back to back for some seconds."""
    from dynaconf import Dynaconf

    settings = Dynaconf(settings_files=[path])
    assert _attribute(settings, key) is not None

    def answer(seconds: float) -> dict[str, int]:
        end = time.monotonic() + seconds
        counted = {"reads": 0, "missing": 0, "reloads": 0}

        def read() -> None:
            while time.monotonic() < end:
                counted["reads"] += 1
                try:
                    counted["missing"] += _attribute(settings, key) is None
                except Exception:
                    counted["missing"] += 1

        reader = threading.Thread(target=read)
        reader.start()
        while time.monotonic() < end:
            settings.reload()
            counted["reloads"] += 1
        reader.join()
        return counted

    return answer


def dynamic_config_reload(path: str) -> Callable[[str, Any], float]:
    """Seconds of `reload()` until a value that was written into the file before can be read.

    Without a schema, which spares it the validation.
    """
    from dynamic_config import DynamicConfig, Values

    config = DynamicConfig(Values, key="app").whole_document().file(path)
    config.init()

    def answer(key: str, expected: Any) -> float:
        start = time.perf_counter()
        config.reload()
        found = config.current()[key]
        seconds = time.perf_counter() - start
        assert found == expected, f"{found!r} instead of {expected!r}"
        return seconds

    return answer


def bystander() -> Callable[[float], list[float]]:
    """How late one is who reads nothing every millisecond for some seconds: what the machine does to anybody."""
    from benchmarks.stalls import lateness

    return lambda seconds: lateness(seconds, time.perf_counter)


def store_writer(path: str, key: str) -> Callable[[str], tuple[float, float]]:
    """Writes a value into the embedded store; when that began and when it was acknowledged, on the system's clock."""
    from herz.store.sqlite import SqliteStore

    loop = asyncio.new_event_loop()
    store = SqliteStore(path)

    def answer(value: str) -> tuple[float, float]:
        start = time.monotonic()
        loop.run_until_complete(store.put(key, value.encode()))
        return start, time.monotonic()

    return answer


def etcd_raw(endpoint: str, prefix: str) -> Callable[..., Any]:
    """A bare watch of etcd: what no client can be faster than."""
    from benchmarks.followers import Raw, answering

    return answering(Raw(endpoint, prefix))


def etcd_hot(endpoints: str, prefix: str, *options: str) -> Callable[..., Any]:
    """Herz on etcd."""
    from benchmarks.followers import Hot, answering

    return answering(Hot(endpoints, prefix, *options))


def etcd_sessions(endpoint: str, prefix: str) -> Callable[..., Any]:
    """Many watches of etcd at once."""
    from benchmarks.followers import Sessions, answering

    return answering(Sessions(endpoint, prefix))


def herz_instances(url: str, first: str, count: str) -> Callable[..., Any]:
    """Instances that follow a control plane."""
    from benchmarks.followers import answering
    from benchmarks.instances import Instances

    return answering(Instances(url, int(first), int(count)))


def herz_idle(port: str, first: str, count: str) -> Callable[..., Any]:
    """Streams that only wait."""
    from benchmarks.followers import answering
    from benchmarks.instances import Idle

    return answering(Idle("127.0.0.1", int(port), int(first), int(count)))


def herz_members(url: str, first: str, count: str) -> Callable[..., Any]:
    """Instances that take part in rollouts."""
    from benchmarks.followers import answering
    from benchmarks.rollback import Members

    return answering(Members(url, int(first), int(count)))


def herz_pages(server: str, topic: str, count: str, *paths: str) -> Callable[..., Any]:
    """Open pages of the console."""
    from benchmarks.followers import answering
    from benchmarks.pages import OpenPages

    return answering(OpenPages(server, topic, int(count), list(paths)))


COLLECTED: Final = (
    "etcd_raw",
    "etcd_hot",
    "etcd_sessions",
    "herz_instances",
    "herz_idle",
    "herz_members",
    "herz_pages",
)
"""Where the collector runs as always, for it is part of what is measured."""


def _attribute(settings: Any, key: str) -> Any:
    return reduce(getattr, key.split("."), settings)


def main() -> None:
    make = globals()[sys.argv[1]]
    answer = make(*sys.argv[2:])
    gc.collect()
    if sys.argv[1] not in COLLECTED:
        gc.disable()
    print("true", flush=True)
    for line in sys.stdin:
        result = answer(*json.loads(line))
        if not gc.isenabled():
            gc.collect()
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
