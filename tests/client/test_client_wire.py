"""Bad answers on the wire: each is one of Herz's own errors, says who must act, and shows no token."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from herz.client import ControlPlane, DraftConflict, NotThere
from herz.client.endpoint import Endpoint
from herz.client.problems import error_of
from herz.errors import (
    BindingError,
    ConfigurationError,
    Conflict,
    DocumentTooLarge,
    HerzError,
    HistoryBroken,
    NotRunning,
    RevisionExpired,
    SourceDenied,
    SourceError,
    SourceUnavailable,
    StoreError,
    TlsError,
    UsageError,
)
from herz.testing.processes import Port

TOKEN = "herz_secret-token"


@asynccontextmanager
async def answering(reply: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers every request with `reply`, or not at all; its address, and what it was asked."""
    asked: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            if reply is not None:
                writer.write(reply)
                await writer.drain()
                writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for writer in writers:
            writer.close()


def http(status: int, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


async def failure(reply: bytes | None, *, timeout_s: float = 5.0) -> tuple[HerzError, list[bytes]]:
    async with answering(reply) as (url, asked), ControlPlane(url, token=TOKEN, timeout_s=timeout_s) as plane:
        with pytest.raises(HerzError) as caught:
            await plane.namespace("pay").releases()
        assert TOKEN not in str(caught.value)
        return caught.value, asked


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (http(200, b"<html>"), SourceError),
        (http(200, b'{"number": "x"}'), SourceError),
        (http(200, b'[{"number": 1}]'), SourceError),
        (http(502, b"<html>bad gateway</html>"), SourceUnavailable),
        (http(500, b""), SourceError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[", SourceUnavailable),
        (b"SSH-2.0-OpenSSH\r\n", SourceUnavailable),
        (b"", SourceUnavailable),
    ],
)
async def test_an_answer_that_is_none_is_an_error_of_the_place(reply, kind):
    error, _ = await failure(reply)
    assert type(error) is kind
    assert error.where is not None
    assert error.where.removeprefix("GET ").startswith("http://127.0.0.1:")


async def test_no_answer_in_time_is_unavailable():
    error, _ = await failure(None, timeout_s=0.1)
    assert type(error) is SourceUnavailable
    assert "no answer in time" in error.what


async def test_nobody_who_listens_is_unavailable():
    port = Port()
    async with ControlPlane(f"http://{port.address}") as plane:
        with pytest.raises(SourceUnavailable, match="herz serve"):
            await plane.apps()
    port.close()


async def test_a_redirect_is_not_followed_and_so_takes_the_token_nowhere():
    async with answering(http(200, b"[]")) as (elsewhere, stolen):
        error, asked = await failure(http(307, b"", f"Location: {elsewhere}/api/v1/apps"))
    assert isinstance(error, SourceError)
    assert not stolen
    assert f"Authorization: Bearer {TOKEN}".encode() in asked[0]


async def test_what_is_closed_is_not_asked():
    plane = ControlPlane("http://127.0.0.1:1")
    with pytest.raises(NotRunning):
        await plane.apps()


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (400, "bad-request", UsageError),
        (401, "unauthorized", SourceDenied),
        (403, "forbidden", SourceDenied),
        (404, "not-found", NotThere),
        (409, "conflict", Conflict),
        (410, "revision-expired", RevisionExpired),
        (413, "too-large", DocumentTooLarge),
        (422, "invalid", ConfigurationError),
        (500, "content-damaged", HistoryBroken),
        (503, "store-unavailable", SourceUnavailable),
        (503, "store-failed", StoreError),
        (507, "store-full", StoreError),
        (418, "of-a-later-version", UsageError),
        (599, "of-a-later-version", SourceError),
    ],
)
def test_a_problem_is_the_error_of_whoever_must_act(status, kind, error):
    body = {"type": f"urn:herz:problem:{kind}", "title": "x", "what": "what happened", "remedy": "what now"}
    found = error_of(status, json.dumps(body).encode(), server="http://h", asked="GET http://h/x")
    assert type(found) is error
    assert (found.what, found.where, found.remedy) == ("what happened", "http://h", "what now")


def test_faults_of_a_draft_are_told_each_with_key_and_place():
    problems = [{"key": "db.pool", "what": "too many", "where": "pay.yml:2"}, {"what": "no document"}]
    body = {"type": "urn:herz:problem:invalid", "title": "x", "what": "2 faults", "problems": problems}
    found = error_of(422, json.dumps(body).encode(), server="http://h", asked="")
    assert isinstance(found, BindingError)
    assert found.problems == ("db.pool: too many (pay.yml:2)", "no document")


@pytest.mark.parametrize("theirs", [None, "x", 3])
def test_a_conflict_without_two_sides_is_a_plain_one(theirs):
    body = {"type": "urn:herz:problem:conflict", "what": "busy", "theirs": theirs, "expected": 3, "actual": 4}
    found = error_of(409, json.dumps(body).encode(), server="http://h", asked="")
    assert type(found) is Conflict
    assert (found.expected, found.actual) == (3, 4)


def test_a_conflict_with_garbage_in_it_is_one_all_the_same():
    body = {"what": "busy", "theirs": {}, "difference": [1, {"key": "a"}], "changed": "x", "expected": True}
    found = error_of(409, json.dumps(body).encode(), server="http://h", asked="")
    assert isinstance(found, DraftConflict)
    assert (found.difference, found.changed, found.expected) == (({"key": "a"},), (), None)


# --- the address ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:4379/", "http://127.0.0.1:4379"),
        ("herz://10.0.0.1:4379", "http://10.0.0.1:4379"),
        ("herz+tls://pay.example:4379", "https://pay.example:4379"),
        ("https://pay.example/herz/", "https://pay.example/herz"),
        ("http://[::1]:4379", "http://[::1]:4379"),
        (None, "http://127.0.0.1:4379"),
    ],
)
def test_addresses_of_servers_and_of_sources_are_understood(url, base):
    assert Endpoint.of(url, environment={}).url == base


def test_the_environment_names_server_and_token():
    endpoint = Endpoint.of(environment={"HERZ_SERVER": "http://h:1", "HERZ_TOKEN": TOKEN})
    assert (endpoint.url, endpoint.token) == ("http://h:1", TOKEN)
    assert TOKEN not in repr(endpoint)
    assert "X-Herz-Author" not in Endpoint.of(token=TOKEN, author="ada").headers  # the token says who


def test_a_name_that_no_header_carries_is_written_without_accents():
    assert Endpoint.of(author="Ada Lövelace 愛\r\nX: y", environment={}).headers["X-Herz-Author"] == (
        "Ada Lovelace ???X: y"
    )


def test_material_that_would_not_be_used_is_refused(tmp_path):
    with pytest.raises(TlsError):
        Endpoint.of("http://127.0.0.1:4379", ca=tmp_path / "ca.pem")
