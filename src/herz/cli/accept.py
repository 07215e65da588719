"""`herz accept`: take a source that was suddenly emptied as meant, in a running service."""

from __future__ import annotations

import argparse
import json
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from herz.cli.arguments import command
from herz.cli.output import print_json
from herz.errors import ConfigurationError, HerzError, SourceDenied, SourceError, SourceUnavailable, UsageError

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers

INCLUDE: Final = "management.endpoints.web.exposure.include"
TIMEOUT_S: Final = 70.0
"""Longer than the service itself waits before it says that it takes too long."""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(
        subparsers,
        "accept",
        run,
        summary="take a source that was suddenly emptied as meant",
        description="A file that had content and is suddenly empty or gone looks like an accident: the service keeps\n"
        "what it had, and its health is DOWN. Where it is meant, this tells the running service to take it.\n"
        f"The service must expose it: {INCLUDE}: [health, info, accept]",
        examples="  herz accept --url http://127.0.0.1:8000/actuator\n"
        "  herz accept application.yml --url http://127.0.0.1:8000/actuator\n"
        "  HERZ_TOKEN=… herz accept --url https://pay.example/actuator",
    )
    parser.add_argument(
        "source", nargs="?", metavar="SOURCE", help="its name in health, such as application.yml (default: all)"
    )
    parser.add_argument("--url", metavar="URL", required=True, help="the actuator of the running service")
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help="sent as Authorization: Bearer (default: HERZ_TOKEN, which other users of the machine cannot see)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask the service; print the places that it accepted."""
    token = arguments.token or os.environ.get("HERZ_TOKEN") or None
    places = accepted(arguments.url, arguments.source, token)
    if arguments.json:
        print_json({"accepted": places})
    elif places:
        print("\n".join(f"accepted {place}" for place in places))
    else:
        print("nothing is waiting to be accepted")
    return 0


def accepted(url: str, source: str | None, token: str | None) -> list[str]:
    """The places that the service at `url` accepted. The error says who must act: see `_refused`."""
    try:
        parts = urlsplit(url)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        port_is_right = False
    if not port_is_right or parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise UsageError(f"{url!r} is no address of a service", remedy="write http://HOST:PORT/actuator")
    endpoint = f"{url.rstrip('/')}/accept"
    headers = {"Accept": "application/json"}
    if token is not None:
        if not token.isascii() or not token.isprintable():
            raise UsageError("the token has characters that a header cannot carry", remedy="look at how it was passed")
        headers["Authorization"] = f"Bearer {token}"
    query = "" if source is None else f"?source={quote(source, safe='')}"
    request = urllib.request.Request(endpoint + query, b"", headers, method="POST")  # noqa: S310  http and https only
    try:
        with urllib.request.build_opener(_Staying).open(request, timeout=TIMEOUT_S) as answer:
            status, body = answer.status, _parsed(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error.code, _parsed(error.read()), endpoint) from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise SourceUnavailable(
            f"the service does not answer: {reason}", where=endpoint, remedy="start it, or mend the URL"
        ) from error
    if not isinstance(body, list):
        raise SourceError(
            f"POST answers {status}, and no list of places",
            where=endpoint,
            remedy="mend the URL: is it the actuator's?",
        )
    return [str(place) for place in body]


class _Staying(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would take the token to whoever it names."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _refused(status: int, body: Any, endpoint: str) -> HerzError:
    """What an answer that is no success means, as the error of whoever must act."""
    told = body if isinstance(body, dict) else {}
    what, remedy = told.get("what") or told.get("detail") or told.get("title"), told.get("remedy")
    kind = str(told.get("type", "")).rpartition(":")[2]
    if status == 404:
        return SourceUnavailable(
            "POST answers 404: the service does not expose accept, or its actuator is mounted elsewhere",
            where=endpoint,
            remedy=f"add accept to {INCLUDE} in the service's configuration, or mend the URL",
        )
    if status in (401, 403):
        return SourceDenied(f"POST answers {status}", where=endpoint, remedy="pass --token, or ask with authority")
    if status == 400 and kind == "source":
        return UsageError(str(what), where=endpoint, remedy=remedy)
    if status == 422:
        return ConfigurationError(
            f"the service refuses to go on without it: {what}", where=told.get("where") or endpoint, remedy=remedy
        )
    if 300 <= status < 400:
        return SourceError(f"POST answers {status}, a redirect", where=endpoint, remedy="write the URL it leads to")
    return SourceError(f"POST answers {status}: {what or 'no reason'}", where=endpoint, remedy=remedy)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
