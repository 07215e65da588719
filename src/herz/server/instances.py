"""The instances of a namespace as people look at them: what each runs, and whether that is what it should."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from herz.release.channel import Pointer
from herz.release.report import Report, Status
from herz.server.hub import Namespace
from herz.server.registered import Registered


class Instance(Registered, frozen=True, kw_only=True):
    """A report, the cohort that the instance was put in, and whether what it runs is what its pointer says."""

    assigned: str = "stable"
    agrees: bool = True


def agrees(report: Report, pointer: Pointer) -> bool:
    """Whether an instance runs what it is told to, whole. Nothing is what it should run before the first release."""
    ref = pointer.release
    if ref is None:
        return True
    applied = report.status is Status.APPLIED
    return applied and report.config_version == ref.number and report.fingerprint == ref.fingerprint


def instance_of(namespace: Namespace, report: Registered) -> Instance:
    """How an instance stands."""
    fields = {name: getattr(report, name) for name in Registered.__struct_fields__}
    return Instance(
        **fields,
        assigned=namespace.cohort(report.instance),
        agrees=agrees(report, namespace.pointer(report.instance)),
    )


def instances_of(
    namespace: Namespace,
    *,
    cohort: str | None = None,
    status: Status | None = None,
    patch_id: str | None = None,
    release: int | None = None,
    labels: Mapping[str, str] | None = None,
    differs: bool | None = None,
    after: str = "",
) -> Iterator[Instance]:
    """The instances that all conditions hold for, those behind the name `after`, in the order of their names."""
    for name in sorted(namespace.reports):
        if name <= after:
            continue
        report = namespace.reports[name].value
        if status is not None and report.status is not status:
            continue
        if patch_id is not None and report.patch_id != patch_id:
            continue
        if release is not None and report.config_version != release:
            continue
        if labels and any(report.labels.get(key) != value for key, value in labels.items()):
            continue
        if cohort is not None and namespace.cohort(name) != cohort:
            continue
        instance = instance_of(namespace, report)
        if differs is None or instance.agrees is not differs:
            yield instance


def drift(namespace: Namespace) -> float:
    """The share of instances whose report is not what their pointer says; 0 where there are none."""
    reports = namespace.reports
    if not reports:
        return 0.0
    differing = sum(not agrees(one.value, namespace.pointer(name)) for name, one in reports.items())
    return differing / len(reports)
