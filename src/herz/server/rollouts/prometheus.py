"""Prometheus's HTTP API, as far as checks of a rollout need it: the samples of a query over a span of time.

https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries
"""

from __future__ import annotations

import math
from datetime import datetime
from urllib.parse import urlencode

import msgspec

from herz.errors import SourceError, SourceUnavailable
from herz.release.trend import Sample
from herz.server.rollouts.outbound import Outbound, shown


class QueryRefused(SourceError):
    """Prometheus answered that the query is not usable."""


class _Series(msgspec.Struct):
    values: list[tuple[float, str]] = []


class _Data(msgspec.Struct):
    resultType: str = ""
    result: list[msgspec.Raw] = []


class _Answer(msgspec.Struct):
    status: str
    data: _Data | None = None
    error: str = ""


async def samples(
    outbound: Outbound, server: str, query: str, start: datetime, end: datetime, step_s: float
) -> tuple[Sample, ...]:
    """Every value of every series that `query` has between `start` and `end`, one each `step_s` seconds, NaN left out.

    A step shorter than the interval at which Prometheus scrapes would count one observation several times. No series
    at all is an empty tuple. `SourceUnavailable` when the server does not answer, `QueryRefused` when it will not.
    """
    asked = {"query": query, "start": start.timestamp(), "end": end.timestamp(), "step": f"{step_s:g}"}
    form = urlencode(asked).encode()  # posted, for a query that names many instances is longer than URLs may be
    url = f"{server.rstrip('/')}/api/v1/query_range"
    reply = await outbound.post(url, form, kind="application/x-www-form-urlencoded")
    try:
        answer = msgspec.json.decode(reply.body, type=_Answer)
    except msgspec.DecodeError as error:
        raise SourceUnavailable(
            f"{shown(server)} answered {reply.status} and no JSON of Prometheus", remedy="give the URL of Prometheus"
        ) from error
    if answer.status != "success" or answer.data is None:
        kind = QueryRefused if 400 <= reply.status < 500 else SourceUnavailable
        raise kind(f"Prometheus refused {query!r}: {answer.error[:500]}", where=shown(server), remedy="mend the query")
    if answer.data.resultType != "matrix":
        raise QueryRefused(
            f"{query!r} gives a {answer.data.resultType}", where=shown(server), remedy="give a query of series"
        )
    found = (
        Sample(time, float(text))
        for raw in answer.data.result
        for time, text in msgspec.json.decode(raw, type=_Series).values
    )
    return tuple(one for one in found if not math.isnan(one.value))
