"""The last-good copy says what is wrong with it, without a word in the log."""

from __future__ import annotations

import logging
from hashlib import sha256
from pathlib import Path

import pytest

from herz.live.last_good import LastGood
from herz.model.document import Document
from herz.model.layer import Layer
from herz.model.origin import Origin
from herz.model.secret import SecretKeys


def sealed(body: bytes) -> bytes:
    return f"sha256:{sha256(body).hexdigest()}\n".encode() + body


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "last-good"
    document = Document(Origin("app.yml", "file"), 3, {"n": 1, "secrets": ["a"]})
    LastGood(path).write([(document, [Layer("app.yml", document, 0, "app.yml")])], SecretKeys())
    return path


def test_a_copy_that_could_be_used_has_no_fault(copy: Path) -> None:
    assert LastGood(copy).check() is None
    found = LastGood(copy).document(Origin("app.yml", "file"))
    assert found is not None
    assert found.parts[0].tree == {"n": 1}  # a leaf that is called secrets stays out


def test_no_copy_and_an_empty_one_have_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    assert LastGood(path).check() is None
    LastGood(path).write([], SecretKeys())
    assert LastGood(path).check() is None


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "damaged"),
        (b"\xff\xfe\n{}", "damaged"),
        (sealed(b'{"format":99,"sources":[]}'), "of version 99"),
        (sealed(b"no json"), "no last-good copy"),
        (sealed(b"[]"), "no last-good copy"),
        (sealed(b'{"format":1}'), "no last-good copy"),
        (sealed(b'{"format":1,"sources":[{"kind":"file"}]}'), "no last-good copy"),
    ],
)
def test_a_copy_that_cannot_be_used_says_why_and_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, fault: str
) -> None:
    path = tmp_path / "last-good"
    path.write_bytes(content)
    with caplog.at_level(logging.DEBUG):
        assert fault in (LastGood(path).check() or "")
    assert not caplog.records
    assert LastGood(path).document(Origin("app.yml", "file")) is None
    assert fault in caplog.text


def test_a_flipped_bit_is_damage(copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[-5] ^= 1
    copy.write_bytes(content)
    assert "damaged" in (LastGood(copy).check() or "")


def test_a_copy_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    assert "cannot be read" in (LastGood(tmp_path).check() or "")
