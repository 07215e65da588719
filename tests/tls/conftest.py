"""Certificates of every kind, made once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from herz.testing.certificates import Authority
from herz.tls.material import TlsMaterial


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def good(authority) -> TlsMaterial:
    return authority.issue("good")


@pytest.fixture(scope="session")
def other(authority) -> TlsMaterial:
    return authority.issue("other", ["db.example"])


@pytest.fixture(scope="session")
def expired(authority) -> TlsMaterial:
    now = datetime.now(UTC)
    return authority.issue("expired", begins=now - timedelta(days=30), ends=now - timedelta(days=1))


@pytest.fixture(scope="session")
def early(authority) -> TlsMaterial:
    now = datetime.now(UTC)
    return authority.issue("early", begins=now + timedelta(days=1), ends=now + timedelta(days=30))
