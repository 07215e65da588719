"""The service under load while its pool and its fee change."""

from __future__ import annotations

import asyncio

import httpx


async def test_a_pool_is_replaced_under_load_without_a_failed_request(app, folder):
    text = (folder / "application.yml").read_text()
    transport = httpx.ASGITransport(app=app.app)
    async with app.lifespan(app.app), httpx.AsyncClient(transport=transport, base_url="http://quotes") as client:
        first = await app.herz.aget(app.Pool)
        answers: list[httpx.Response] = []

        async def load() -> None:
            while not answers or answers[-1].json()["pool"] != 8:
                answers.append(await client.get("/quotes/3"))

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(load())
            await asyncio.sleep(0)
            (folder / "application.yml").write_text(
                text.replace("pool-size: 2", "pool-size: 8").replace("0.25", "0.75")
            )

        assert {answer.status_code for answer in answers} == {200}
        seen = {(answer.json()["total"], answer.json()["pool"]) for answer in answers}
        assert seen == {(30.25, 2), (30.75, 8)}  # never the old pool with the new fee
        async with asyncio.timeout(10):
            while not first.closed:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.01)


async def test_a_refused_change_shows_in_health_and_serves_on(app, folder):
    text = (folder / "application.yml").read_text()
    transport = httpx.ASGITransport(app=app.app)
    async with app.lifespan(app.app), httpx.AsyncClient(transport=transport, base_url="http://quotes") as client:
        (folder / "application.yml").write_text(text.replace("pool-size: 2", "pool-size: 200"))
        answer = await client.post("/actuator/refresh")
        assert answer.status_code == 422
        assert "application.yml:3" in answer.json()["detail"]
        assert (await client.get("/actuator/health")).status_code == 503
        assert (await client.get("/actuator/health/readiness")).status_code == 200
        assert (await client.get("/quotes/1")).json()["pool"] == 2
