"""Numbers keep what was written: integers at any size, floats beyond 2**53 with their digits."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from herz.errors import DocumentMalformed
from herz.formats.decode import decode
from herz.model.number import WrittenFloat

WRITTEN = {
    "json": '{{"k": {}, "l": [{}], "t": {{"n": {}}}}}',
    "yaml": "k: {}\nl: [{}]\nt:\n  n: {}\n",
    "toml": "k = {}\nl = [{}]\n[t]\nn = {}\n",
}


def values(format, text) -> list[Any]:
    tree = decode(WRITTEN[format].format(text, text, text).encode(), format, name="x").tree
    return [tree["k"], tree["l"][0], tree["t"]["n"]]


@pytest.mark.parametrize("format", WRITTEN)
@pytest.mark.parametrize("text", ["10000000000000001", "-123456789012345678901234567890", "9007199254740993", "0"])
def test_integers_are_exact(format, text):
    assert values(format, text) == [int(text)] * 3
    assert {type(value) for value in values(format, text)} == {int}


@pytest.mark.parametrize("format", WRITTEN)
@pytest.mark.parametrize(
    "text", ["10000000000000001.0", "123456789012345678.0e1", "100000000000000000000001.5", "1e300"]
)
def test_large_floats_keep_their_digits(format, text):
    for value in values(format, text):
        assert isinstance(value, WrittenFloat)
        assert value.written == Decimal(text)


@pytest.mark.parametrize("format", WRITTEN)
@pytest.mark.parametrize("text", ["1.5", "1e3", "0.30000000000000004", "1e-7", "1e16", "1e22"])
def test_floats_that_lose_nothing_are_plain(format, text):
    assert [type(value) for value in values(format, text)] == [float] * 3
    assert values(format, text) == [float(text)] * 3


@pytest.mark.parametrize("format", WRITTEN)
@pytest.mark.parametrize("text", ["1e400", "-1e999999"])
def test_a_number_out_of_range_is_malformed_with_its_line(format, text):
    with pytest.raises(DocumentMalformed, match="out of range") as caught:
        values(format, text)
    assert caught.value.where == "x:1"


@pytest.mark.parametrize("format", ["json", "yaml"])
def test_an_integer_beyond_the_interpreters_limit_of_digits_is_malformed(format):
    with pytest.raises(DocumentMalformed, match="out of range"):
        values(format, "1" * 5000)


def test_toml_dates_and_times_are_iso_text():
    tree = decode(b"d = 2024-01-01\nt = 10:00:00\nz = 2024-01-01 10:00:00Z\nl = [2024-01-01]\n", "toml", name="x").tree
    assert tree == {"d": "2024-01-01", "t": "10:00:00", "z": "2024-01-01T10:00:00+00:00", "l": ["2024-01-01"]}
