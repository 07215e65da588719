"""One container of the incident's pod: it calls a service, and gives up after the `timeout` that it is configured with.

Says one JSON object a line: what it is configured with, where that was written, and which object uses it. Knows nothing
of the incident.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from herz import ChangeSet, Herz
from herz.cli.demo.process import announce, dismissed

KEY = "timeout"


@dataclass(frozen=True)
class CallConfig:
    """How long a call may take."""

    timeout: timedelta


class Caller:
    """Makes the calls. Built anew when the timeout changes."""

    built = 0

    def __init__(self, config: CallConfig) -> None:
        Caller.built += 1
        self.timeout_ms = round(config.timeout.total_seconds() * 1000)


async def main() -> None:
    """Run until dismissed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", required=True)
    parser.add_argument("--instance", required=True)
    parser.add_argument("--pod", required=True)
    parser.add_argument("--container", required=True)
    parser.add_argument("--mounted", help="a file of the container's own ConfigMap, which wins over the release")
    given = parser.parse_args()
    labels = {"instance": given.instance, "label.pod": given.pod, "label.container": given.container}
    sources = [f"{given.source}?{urlencode(labels)}", *([given.mounted] if given.mounted else [])]
    herz = Herz(*sources, environment={})
    herz.properties("")(CallConfig)
    herz.refresh_scope(eager=True)(Caller)

    def tell() -> None:
        explained = herz.snapshot.explain(KEY)
        announce(
            container=given.container,
            value=str(herz.snapshot[KEY]),
            origin="" if explained.winner is None else explained.winner.place,
            timeout_ms=herz.get(Caller).timeout_ms,
            built=Caller.built,
        )

    @herz.on_change
    def changed(_: ChangeSet) -> None:
        tell()

    async with herz:
        tell()
        await dismissed()


if __name__ == "__main__":
    asyncio.run(main())
