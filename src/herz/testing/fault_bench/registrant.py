"""A process that keeps an instance registered, to be frozen: `python -m … ENDPOINTS ROOT SERVICE NAME TTL_S`.

It prints one line of JSON for each step of its registration, with the machine's monotonic time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence

from herz.discovery import RegistrationEvent, ServiceRegistry
from herz.store.etcd.store import EtcdStore


def tell(event: RegistrationEvent) -> None:
    """One line of JSON."""
    print(json.dumps({"state": event.state, "at_s": time.monotonic(), "reason": event.reason}), flush=True)


async def run(endpoints: str, root: str, service: str, name: str, ttl_s: float) -> None:
    """Stay registered until the standard input ends."""
    store = EtcdStore(endpoints.split(","))
    registry = ServiceRegistry(store, root=root)
    async with registry.register(service, name, "127.0.0.1:1", ttl_s=ttl_s, changed=tell):
        await asyncio.to_thread(sys.stdin.read)
    await store.close()


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    endpoints, root, service, name, ttl_s = arguments
    asyncio.run(run(endpoints, root, service, name, float(ttl_s)))


if __name__ == "__main__":
    main(sys.argv[1:])
