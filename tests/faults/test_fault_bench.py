"""The fault bench with few events and a fixed seed: every case, on real servers, Herz beside a plain client."""

from __future__ import annotations

import pytest

from herz.errors import UsageError
from herz.testing.etcd_cluster import EtcdCluster
from herz.testing.fault_bench.case import CASES
from herz.testing.fault_bench.run import run_case
from herz.testing.fault_bench.tally import Count

SEED = 7
EVENTS = {1: 3_000, 4: 1_200, 15: 2_000, 20: 1_500}
LOSES = {3, 5, 8, 12, 18, 21}
"""Cases in which the plain client surely loses something, however few the events."""
QUICK = {5, 14}
"""Cases that take a second or two."""


@pytest.fixture(scope="module")
def cluster():
    with EtcdCluster(3) as found:
        yield found


def test_every_case_but_the_one_of_kubernetes_is_there() -> None:
    assert sorted(CASES) == [number for number in range(1, 23) if number != 6]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, id=f"{number}-{case.name}", marks=[] if number in QUICK else [pytest.mark.slow])
        for number, case in sorted(CASES.items())
    ],
)
async def test_nothing_is_lost_doubled_reordered_or_unnoticed(number: int, cluster: EtcdCluster) -> None:
    case = CASES[number]
    outcome = await run_case(
        cluster if case.cluster else None, case, seed=SEED, events=EVENTS.get(number, 400), say=print
    )
    print(outcome)
    assert outcome["error"] is None
    assert Count(**outcome["herz"]) == Count()
    assert outcome.ok
    assert outcome["events"] > 0
    if number in LOSES:
        assert not Count(**outcome["naive"]).ok, "the fault did no harm to a plain client, so it shows nothing"


async def test_a_case_that_needs_members_says_so() -> None:
    with pytest.raises(UsageError, match="needs a cluster"):
        await run_case(None, CASES[1], seed=SEED, events=60)
