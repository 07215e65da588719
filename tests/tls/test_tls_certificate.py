"""Certificates as OpenSSL and as we read them."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.tls.certificate import _validity, pair_fault, valid_for, validities


def test_the_dates_are_those_that_openssl_reads(good, expired, early, authority):
    for path in (good.cert, expired.cert, early.cert, str(authority.cert)):
        said = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-dates"], capture_output=True, text=True)
        begins, ends = (
            datetime.fromtimestamp(ssl.cert_time_to_seconds(line.partition("=")[2]), UTC)
            for line in said.stdout.splitlines()
        )
        (found,) = validities(Path(path).read_bytes())
        assert (found.begins, found.ends) == (begins, ends)


def test_a_date_beyond_2049_is_read(authority):
    # RFC 5280, 4.1.2.5: such a date is written as GeneralizedTime.
    far = datetime(2061, 1, 2, 3, 4, 5, tzinfo=UTC)
    (found,) = validities(Path(authority.issue("far", ends=far).cert).read_bytes())
    assert found.ends == far


def test_a_certificate_is_valid_for_its_hosts_alone(good, other, expired):
    assert [valid_for(good.cert, good.key, host) for host in ("localhost", "127.0.0.1")] == [True, True]
    assert [valid_for(good.cert, good.key, host) for host in ("db.example", "10.0.0.1", "::1")] == [False] * 3
    assert valid_for(other.cert, other.key, "db.example")
    assert valid_for(expired.cert, expired.key, "localhost")
    assert not valid_for(expired.cert, expired.key, "db.example")


def test_a_wildcard_covers_one_label(authority):
    wild = authority.issue("wild", ["*.shop.example"])
    assert [valid_for(wild.cert, wild.key, host) for host in ("a.shop.example", "a.b.shop.example")] == [True, False]


def test_a_pair_belongs_together(good, other):
    assert pair_fault(good.cert, good.key) is None
    assert pair_fault(good.cert, other.key) == "the key does not belong to the certificate"


@given(st.binary(max_size=60))
def test_bytes_that_are_no_certificate_are_a_value_error(data):
    with pytest.raises(ValueError, match=r".*"):
        _validity(data)


def test_a_certificate_cut_anywhere_is_a_value_error(good):
    der = ssl.PEM_cert_to_DER_cert(Path(good.cert).read_text())
    for length in range(len(der)):
        with pytest.raises(ValueError, match="ends too early"):
            _validity(der[:length])
