"""The program as it is."""

from __future__ import annotations


async def test_every_order_is_paid_once_while_client_and_pool_are_replaced(app, folder):
    paid = await app.main(300)
    assert sorted(one["order"] for one in paid) == list(range(320))
    assert {(one["bank"], one["connections"]) for one in paid} == {("north", 2), ("south", 6)}  # never mixed
