"""The metrics of a server, in Prometheus's text format: names, labels and meanings all stand here.

| name | labels | meaning |
|---|---|---|
| `herz_streams` | `app`, `namespace` | clients connected to this server |
| `herz_instances` | `app`, `namespace`, `status` | reports in the store: APPLYING, APPLIED, FAILED |
| `herz_drift_ratio` | `app`, `namespace` | share of instances that report something else than their pointer says |
| `herz_release` | `app`, `namespace`, `cohort` | number of the release that a pointer names |
| `herz_asks_open` | `app`, `namespace` | questions that stand |
| `herz_frames_total`, `herz_frame_bytes_total` | `type` | frames written to streams |
| `herz_streams_cut_off_total` | | clients that took nothing for too long |
| `herz_report_batches_total`, `herz_report_writes_total` | | transactions with reports and answers, what they held |
| `herz_reports_refused_total` | `reason` | reports and answers that were not taken |
| `herz_asks_total` | `kind` | questions asked by this server |
| `herz_lease_grants_total` | | leases granted for reports; more than one means that one was lost |
| `herz_store_current` | | 1 while the store has proved that nothing is missing here, else 0 |
| `herz_store_age_seconds` | | since that was last proved |
| `herz_store_revision` | | up to where everything is known here |
| `herz_store_rewinds_total` | | how often the store went back in time |
| `herz_verify_seconds` | `app`, `namespace`, `verified` | histogram: how long verifications took |

Values are read when somebody asks; nothing is counted up for each instance in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from litestar import Response
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from herz.release.channel import STABLE
from herz.server.counts import Counts
from herz.server.delivery import Delivery
from herz.server.fleet import Fleet
from herz.server.hub import Hub
from herz.server.instances import drift

SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Buckets of verifications: the target is 0.2 s."""
PLACE: Final = ("app", "namespace")


class Metrics:
    """All metrics of one server. Other parts add their own to `registry`."""

    def __init__(self, hub: Hub, delivery: Delivery, fleet: Fleet, counts: Counts) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Standing(hub, delivery))
        self.registry.register(_Counted(hub, fleet, counts))
        self._verified = Histogram(
            "herz_verify_seconds",
            "How long verifications took",
            (*PLACE, "verified"),
            buckets=SECONDS,
            registry=self.registry,
        )

    def verified(self, app: str, namespace: str, verified: bool, seconds: float) -> None:
        """A verification has ended."""
        self._verified.labels(app, namespace, str(verified).lower()).observe(seconds)

    def response(self) -> Response[bytes]:
        """All of them, now."""
        return Response(generate_latest(self.registry), headers={"content-type": CONTENT_TYPE_LATEST})


class _Standing(Collector):
    """How namespaces stand."""

    def __init__(self, hub: Hub, delivery: Delivery) -> None:
        self._hub, self._delivery = hub, delivery

    def collect(self) -> Iterable[Metric]:
        """Each as it is now."""
        streams = GaugeMetricFamily("herz_streams", "Clients connected to this server", labels=PLACE)
        for name, audience in self._delivery.audiences.items():
            streams.add_metric(name, len(audience.streams))
        yield streams
        instances = GaugeMetricFamily("herz_instances", "Reports in the store", labels=(*PLACE, "status"))
        drifts = GaugeMetricFamily("herz_drift_ratio", "Share of instances that run something else", labels=PLACE)
        releases = GaugeMetricFamily("herz_release", "Release that a pointer names", labels=(*PLACE, "cohort"))
        asks = GaugeMetricFamily("herz_asks_open", "Questions that stand", labels=PLACE)
        for name, namespace in list(self._hub.namespaces.items()):
            counted = Counter(str(one.value.status) for one in namespace.reports.values())
            for status, count in sorted(counted.items()):
                instances.add_metric((*name, status), count)
            drifts.add_metric(name, drift(namespace))
            for cohort, pointer in ((STABLE, namespace.channel.stable), *namespace.channel.cohorts.items()):
                if pointer.release is not None:
                    releases.add_metric((*name, cohort), pointer.release.number)
            asks.add_metric(name, len(namespace.asks.open))
        yield from (instances, drifts, releases, asks)


class _Counted(Collector):
    """What the server has counted, and how its watch on the store stands."""

    def __init__(self, hub: Hub, fleet: Fleet, counts: Counts) -> None:
        self._hub, self._fleet, self._counts = hub, fleet, counts

    def collect(self) -> Iterator[Metric]:
        """Each as it is now."""
        counts, freshness = self._counts, self._hub.freshness
        yield _by("herz_frames", "Frames written to streams", "type", counts.frames)
        yield _by("herz_frame_bytes", "Bytes of frames written to streams", "type", counts.frame_bytes)
        yield CounterMetricFamily("herz_streams_cut_off", "Clients that took nothing for too long", counts.cut_off)
        yield CounterMetricFamily("herz_report_batches", "Transactions with reports and answers", counts.batches)
        yield CounterMetricFamily("herz_report_writes", "Reports and answers written", counts.batch_writes)
        yield _by("herz_reports_refused", "Reports and answers that were not taken", "reason", counts.refused)
        yield _by("herz_asks", "Questions asked by this server", "kind", counts.asks)
        yield CounterMetricFamily("herz_lease_grants", "Leases granted for reports", self._fleet.lease.grants)
        yield GaugeMetricFamily("herz_store_current", "1 while nothing is missing here", float(freshness.current))
        yield GaugeMetricFamily("herz_store_age_seconds", "Since the store last proved that", freshness.age_s)
        yield GaugeMetricFamily("herz_store_revision", "Up to where everything is known here", self._hub.revision)
        yield CounterMetricFamily("herz_store_rewinds", "How often the store went back in time", self._hub.epoch)


def _by(name: str, text: str, label: str, counted: Counter[str]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in sorted(counted.items()):
        family.add_metric((value,), count)
    return family
