"""The case of rights that run out: a token's life, a server's memory of it, and a role."""

from __future__ import annotations

import asyncio
from typing import Final

from herz.testing.etcd_cluster import EtcdServer
from herz.testing.fault_bench.bench import Bench, Stage
from herz.testing.fault_bench.case import case

READER: Final = "reader"
PASSWORD: Final = "reader-secret"  # noqa: S105  of a server that lives for a test
TOKEN_S: Final = 1
"""Seconds that an unused token lives."""


@case(18, "token-and-role", share=0.5, cluster=False)
async def token_and_role(stage: Stage) -> None:
    """Tokens expire, the server forgets them, and at last the role is revoked, and granted again."""
    options = (f"--auth-token-ttl={TOKEN_S}",)
    async with EtcdServer(options=options) as server:
        await server.enable_auth()
        bench = Bench(
            server,
            stage.name,
            seed=stage.seed,
            events=stage.events,
            say=stage.say,
            folder=stage.folder,
            writer_login=server.credentials,
            reader_login=(READER, PASSWORD),
        )
        await server.add_user(READER, PASSWORD, prefix=bench.prefix, permission="read")
        try:
            await bench.start(query="?proof=1s")
            await _story(stage, bench, server)
            await bench.finish()
            stage.counted = bench.counts()
        finally:
            stage.written = bench.written
            stage.notes.update(bench.notes)
            await bench.close()


async def _story(stage: Stage, bench: Bench, server: EtcdServer) -> None:
    share = max(10, stage.events // 5)
    session = bench.session
    # Unused for longer than a token lives, and then needed for a new watch.
    for _ in range(2):
        await bench.write(share // 2)
        await asyncio.sleep(2 * TOKEN_S + 0.5)
        for proxy in bench.proxies:
            proxy.cut()
        await bench.write(share // 2)
        await bench.settle()
    # Simple tokens do not outlive the server that made them.
    await server.member.restart()
    await bench.write(share)
    await bench.settle()
    assert bench.hot.health.freshness != "HALTED", bench.situation()  # noqa: S101  the verdict
    # The role goes: only people can mend that, and health says why.
    await server.ctl("user", "revoke-role", READER, READER)
    bench.notes["halted_s"] = round(
        await bench.until(lambda: bench.hot.health.freshness == "HALTED", "without its role Herz says HALTED", 30), 1
    )
    reason = bench.hot.health.error or ""
    assert "permission denied" in reason, f"health does not say why: {reason}"  # noqa: S101
    assert PASSWORD not in reason, "health shows the password"  # noqa: S101
    good = dict(bench.hot.state)
    attempts = session.reconnects
    await bench.write(share)
    await asyncio.sleep(1.0)
    tries = session.reconnects - attempts
    assert tries <= 2, f"it asked {tries} times in a second for what was denied"  # noqa: S101
    assert bench.hot.state == good, "what was good did not stay in force"  # noqa: S101
    # And comes back.
    await server.ctl("user", "grant-role", READER, READER)
    granted = asyncio.get_running_loop().time()
    await bench.hot.herz.arefresh()  # an operator does not want to wait for a minute
    await bench.until(lambda: bench.hot.health.freshness == "CURRENT", "with its role again Herz is CURRENT", 90)
    bench.notes["current_again_s"] = round(asyncio.get_running_loop().time() - granted, 1)
    await bench.write()
