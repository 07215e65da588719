"""The running service, asked over HTTP: whether its actuator answers, and what its health says."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from herz.cli.doctor.examination import Examination
from herz.cli.doctor.exposure import KEY
from herz.cli.doctor.finding import Finding
from herz.errors import UsageError

TIMEOUT_S: Final = 5.0


class Unreachable(Exception):
    """Nobody answers."""


def check(examination: Examination) -> Iterator[Finding]:
    """What the service's health, scope and refresh endpoints say. Refresh is asked in a way that changes nothing."""
    if examination.url is None:
        return
    url = examination.url.rstrip("/")
    try:
        status, body = ask(f"{url}/health")
    except Unreachable as error:
        yield Finding(
            "unreachable",
            "error",
            f"the service does not answer: {error}",
            f"{url}/health",
            "start it, or mend the URL: the address of the service and the path that the actuator is mounted at",
        )
        return
    if status in (404, 405) or not isinstance(body, dict):
        yield Finding(
            "no-actuator",
            "error",
            f"GET {url}/health answers {status}, and no health",
            url,
            'mount it: app.mount("/actuator", herz.actuator()); or expose health in ' + KEY,
        )
    elif status in (401, 403):
        yield Finding("not-authorized", "warning", f"GET {url}/health answers {status}", url, "ask with authority")
    else:
        yield from _health(url, body)
    yield from _refresh(url, examination)
    yield from _stale_holders(url)


def _health(url: str, body: dict[str, Any]) -> Iterator[Finding]:
    details = body.get("details", body)
    details = details if isinstance(details, dict) else body
    rows = [row for row in details.get("sources") or () if isinstance(row, dict)]
    for row in rows:
        if row.get("status") in ("DOWN", "WARN"):
            yield Finding(
                "source-down",
                "error" if row["status"] == "DOWN" else "warning",
                f"{row.get('name')} is {row.get('freshness') or row['status']}: {row.get('error') or 'no reason'}",
                f"{url}/health",
                "mend what is named; the service keeps the last good configuration until then",
            )
    for notice in details.get("warnings") or ():
        if isinstance(notice, dict):
            yield Finding(
                "service-warning", "warning", str(notice.get("what")), f"{url}/health", str(notice.get("remedy"))
            )
    if body.get("status") not in ("UP", None) and not rows and not details.get("warnings"):
        yield Finding(
            "service-down",
            "warning" if body["status"] == "WARN" else "error",
            f"the service's health is {body['status']}",
            f"{url}/health",
            "set management.endpoint.health.show-details: always to see why",
        )


def _refresh(url: str, examination: Examination) -> Iterator[Finding]:
    # GET is not what refresh takes, so nothing is refreshed: 405 says that it is there, 404 that it is not.
    try:
        status, _ = ask(f"{url}/refresh")
    except Unreachable:
        return
    if status == 404:
        include = ", ".join(sorted({*examination.settings.exposure, "refresh"}))
        yield Finding(
            "refresh-not-exposed",
            "warning",
            f"POST {url}/refresh answers 404: the endpoint is not exposed",
            f"{url}/refresh",
            f"set {KEY}: [{include}] in the service's configuration",
        )


def _stale_holders(url: str) -> Iterator[Finding]:
    try:
        status, body = ask(f"{url}/scope")
    except Unreachable:
        return
    if status != 200 or not isinstance(body, dict):
        return
    for holder in body.get("stale_holders") or body.get("stale") or ():
        if isinstance(holder, dict):
            yield Finding(
                "stale-holder",
                "warning",
                f"{holder.get('holder')} still uses an old {holder.get('provides')}"
                + (f" ({_changed(holder)})" if holder.get("changed") else ""),
                str(holder.get("place") or url),
                str(holder.get("remedy") or "put it into a refresh scope"),
            )


def _changed(holder: dict[str, Any]) -> str:
    keys = [one.get("key") if isinstance(one, dict) else one[0] for one in holder["changed"]]
    return ", ".join(map(str, keys)) + " changed since"


def ask(url: str) -> tuple[int, Any]:
    """The status and the JSON (None when it is none) that a GET of `url` answers. `Unreachable` with the reason."""
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise UsageError(f"{url!r} is no address of a service", remedy="write http://HOST:PORT/actuator")
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310  http and https only
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310  the same
            return answer.status, _parsed(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _parsed(error.read())
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise Unreachable(str(getattr(error, "reason", error))) from error


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
