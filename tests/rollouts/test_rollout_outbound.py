"""What the server asks of others is encrypted or stays on the machine, and is bounded."""

from __future__ import annotations

import pytest

from herz.errors import SourceUnavailable, UsageError
from herz.server.rollouts import outbound as module
from herz.server.rollouts.outbound import Outbound, permitted, shown


@pytest.mark.parametrize("url", ["http://example.com/", "http://10.0.0.1:9090", "http://127.0.0.1.example.com/"])
def test_an_address_that_others_could_read_along_is_refused(url):
    with pytest.raises(UsageError, match="is not encrypted"):
        permitted(url, "a check")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "file:///etc/passwd", "http://", "x", ""])
def test_what_is_no_web_server_is_refused(url):
    with pytest.raises(UsageError, match="is not the address of a web server"):
        permitted(url, "a check")


def test_whoever_runs_the_server_may_name_hosts_that_are_reached_unencrypted(monkeypatch):
    monkeypatch.setenv("HERZ_PLAIN_HTTP", "prometheus metrics.internal")
    assert permitted("http://Prometheus:9090/", "a check")
    with pytest.raises(UsageError, match="name the host in HERZ_PLAIN_HTTP"):
        permitted("http://prometheus.example.com/", "a check")


@pytest.mark.parametrize("url", ["https://example.com/x", "http://127.0.0.1:1/x", "http://[::1]/", "http://localhost"])
def test_https_and_this_machine_are_permitted(url):
    assert permitted(url, "a check") == url


@pytest.mark.parametrize("url", ["https://a/\r\nX: y", "https://a/ b", "https://a/\tb", "https://a\n"])
def test_an_address_cannot_smuggle_a_header(url):
    with pytest.raises(UsageError, match="white space"):
        permitted(url, "a check")


def test_an_address_is_shown_without_what_may_be_secret():
    assert shown("https://u:p@hooks.example.com:1/T0K3N?x=s3cret#f") == "https://hooks.example.com:1/…"
    assert shown("https://example.com?token=s3cret") == "https://example.com/…"
    assert shown("https://example.com/") == "https://example.com"


async def test_a_redirect_is_not_followed(place, outbound):
    place.status, place.headers = 302, {"Location": "http://169.254.169.254/latest"}
    assert (await outbound.get(place.url)).status == 302
    assert len(place.asked) == 1


async def test_an_answer_that_never_ends_is_cut(place, outbound, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_BYTES", 1_000)
    place.body = b"x" * 2_000
    with pytest.raises(SourceUnavailable, match="ClientPayloadError"):
        await outbound.get(place.url)


async def test_no_answer_in_time_is_unavailable(place):
    outbound = Outbound(limit_s=0.05)
    place.hold.clear()
    with pytest.raises(SourceUnavailable, match=r"no answer within 0\.05 s"):
        await outbound.get(place.url)
    await outbound.close()


async def test_nobody_there_is_unavailable_and_no_path_shows(outbound):
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:9/…: Cannot connect") as caught:
        await outbound.get("http://127.0.0.1:9/s3cret")
    assert "s3cret" not in str(caught.value)
