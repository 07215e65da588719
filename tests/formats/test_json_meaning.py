"""What msgspec leaves out of JSON: duplicates, lines, limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.errors import DocumentMalformed, DuplicateKey
from herz.formats.decode import decode


def read(text) -> Any:
    return decode(text.encode(), "json", name="app.json").tree


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '{"a" : 1, "b": ":", "a"\t:2}',
        '{"t": {"a": {"x": 1}, "a": {"y": 2}}}',
        '{"l": [{"a": 1, "a": 1}]}',
        '{"a.b": 1, "a.b": 1}',
        '{"a": "\\":", "\\u0061": 1}',
        '{"a.b": 1, "a": {"b": 2}}',
    ],
)
def test_no_duplicate_slips_through(text):
    with pytest.raises(DuplicateKey):
        read(text)


KEYS = st.sampled_from(["a", "b", 'q"', "c:", "x.y", "z", " ", "é"])
VALUES = st.recursive(
    st.none() | st.integers() | st.sampled_from(["a:b", '":', " :", "\\", "{", "[x]"]),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(KEYS, inner), max_size=4).map(tuple),
    max_leaves=12,
)


def _text(value, space) -> str:
    if isinstance(value, tuple):
        return "{" + ", ".join(f"{json.dumps(key)}{space}:{_text(inner, space)}" for key, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_text(inner, space) for inner in value) + "]"
    return json.dumps(value)


def _repeats(value) -> bool:
    if isinstance(value, tuple):
        keys = [key for key, _ in value]
        return len(set(keys)) != len(keys) or any(_repeats(inner) for _, inner in value)
    return isinstance(value, list) and any(map(_repeats, value))


@given(st.lists(st.tuples(KEYS, VALUES), max_size=5).map(tuple), st.sampled_from(["", " ", "\n"]))
def test_a_document_is_refused_exactly_when_a_key_is_repeated(value, space):
    try:
        read(_text(value, space))
    except DuplicateKey:
        assert _repeats(value)
    except DocumentMalformed:
        pass  # x.y and the like may conflict
    else:
        assert not _repeats(value)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ('{"a": 1,\n"b" 2}', "at column 5", 2),
        ('{"a": 1\n', "ends too early", 1),
        ('{"a": "x\ny"}', "at column", 1),
        ('{"a": NaN}', "malformed JSON", 1),
        ('{"a": 1} x', "trailing characters", 1),
        ('{"a": 01}', "malformed JSON", 1),
    ],
)
def test_a_syntax_error_is_told_with_its_line(text, message, line):
    with pytest.raises(DocumentMalformed, match=message) as caught:
        read(text)
    assert caught.value.where == f"app.json:{line}"


def test_half_a_surrogate_pair_is_malformed():
    with pytest.raises(DocumentMalformed):
        read('{"a": "\\ud800"}')


def test_lines_are_told_when_strings_look_like_keys():
    decoded = decode(b'{\n"a": "\\":",\n"b" :\n{"c": [{"d": 1}],\n"e": 2}}', "json", name="x")
    assert dict(decoded.lines()) == {("a",): 2, ("b",): 3, ("b", "c"): 4, ("b", "e"): 5}
