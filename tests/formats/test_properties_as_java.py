"""Properties files are read as Java reads them; javaproperties, which is tested against Java, is the oracle."""

from __future__ import annotations

import javaproperties
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from herz.errors import DocumentMalformed
from herz.formats.decode import decode
from herz.formats.properties import _written

from ..conftest import examples

PARTS = st.sampled_from(
    [
        *["a", "b", "key", "=", ":", " ", "\t", "\f", "\n", "\r", "\r\n", "\\", "\\\\", "\\\n", "\\\r\n", "\\ ", "\\="],
        *["\\:", "#", "!", "\\u0041", "\\n", "\\x", "é", "a=1\n", "b : 2\n", "# c\\\n", "  "],
    ]
)


@settings(max_examples=examples(800))
@given(st.lists(PARTS, max_size=12).map("".join))
@example("a\\")
@example("a=1\\\n")
@example("a=1\\\n\\\n  2\n")
@example(" \\\n# a\n")
@example("=x\n")
def test_any_text_holds_the_entries_that_java_finds(text):
    expected = [
        (element.key, element.value)
        for element in javaproperties.parse(text)
        if isinstance(element, javaproperties.KeyValue)
    ]
    assert [(member.name, member.value) for member in _written(text)] == expected


def test_continued_lines_take_time_in_proportion():
    lines = 50_000
    assert decode(b"a=" + b"x\\\n" * lines, "properties", name="n").tree == {"a": "x" * lines}


@pytest.mark.parametrize("text", ["x=1\na=\\u00zz\n", "x=1\na=\\ud800\n"])
def test_a_broken_escape_is_told_with_its_line(text):
    with pytest.raises(DocumentMalformed) as caught:
        decode(text.encode(), "properties", name="n")
    assert caught.value.where == "n:2"
