"""Decoding again only what changed gives what decoding in full gives: the same tree, or the same error."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from herz.errors import DocumentMalformed
from herz.formats import decode as door
from herz.formats import incremental, json_pieces, yaml_pieces
from herz.formats.decode import Decoded, decode, redecode
from herz.formats.difference import Edit, common_prefix, common_suffix
from herz.model.document import replay
from herz.model.tree import identical, thaw

from ..conftest import examples


@pytest.fixture(autouse=True, scope="module")
def small_pieces():
    """Pieces of a line or two, so that a short document has many."""
    with (
        mock.patch.multiple(json_pieces, PIECE=24, LARGE=96),
        mock.patch.multiple(yaml_pieces, PIECE=24, LARGE=96),
        mock.patch.multiple(incremental, LARGE=200),
        mock.patch.multiple(door, LARGE=0),
    ):
        yield


def outcome(call) -> Any:
    try:
        return call()
    except DocumentMalformed as error:
        return type(error), error.what, error.where, error.remedy


def whole(data, format) -> Any:
    with mock.patch.multiple(door, LARGE=1 << 40):
        return outcome(lambda: decode(data, format, name="n"))


def same_tree(a, b) -> bool:
    return identical(thaw(a), thaw(b))


def check(before: str, after: str, format: str) -> None:
    old = outcome(lambda: decode(before.encode(), format, name="n"))
    expected = whole(before.encode(), format)
    if not isinstance(old, Decoded):
        assert old == expected
        return
    piecewise = decode(before.encode(), format, name="n", yielding=True)
    assert same_tree(old.tree, expected.tree)
    assert same_tree(piecewise.tree, expected.tree)
    expected = whole(after.encode(), format)
    found = outcome(lambda: redecode(old, after.encode()))
    if not isinstance(expected, Decoded):
        assert found == expected
        return
    new, events = found
    assert same_tree(new.tree, expected.tree)
    assert new.references == expected.references
    assert dict(new.lines()) == dict(expected.lines())
    if events is not None:
        assert same_tree(replay(old.tree, events), expected.tree)


YAML_LINES = st.sampled_from(
    ["a: 1", "b: x", "c:", "  d: 1", "  e: [1, 2]", "    f: 'g'", "- h", "  - i: 1", "    j: 2", "k: |", "  text", "",
     "# comment", "  # comment", "l: 'two", "  lines'", 'm: "n: {o"', "p.q: 1", "p: {r: 1}", "max-x: 1", "max_x: 2",
     "s: {t: 1,", "  u: 2}", "v: &w 1", "x: *w", "<<: {y: 1}", "---", "...", "? z", ": 1", "1: 2", "k1: ${a}", "k2:",
     "k3: 3.0", "k4: ~", "k5: 1e17", "k6: >+", "'k7': 7", "k8: a # b", "k9: http://x/y", "\tbad: 1", "é: ü", "herz:"]
)  # fmt: skip
YAML_PARTS = st.one_of(
    YAML_LINES.map(lambda line: line + "\n"),
    st.sampled_from([" ", "  ", "\n", ":", "'", '"', "#", "9", "x", "- ", "{", "]", "\r\n", ""]),
)


@st.composite
def edited(draw, text, parts):
    """A text and one made from it by a few replacements."""
    before = draw(text)
    after = before
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(after)))
        stop = min(len(after), start + draw(st.integers(0, 8)))
        after = after[:start] + draw(parts) + after[stop:]
    return before, after


@st.composite
def nested_yaml(draw):
    """A block table of random keys, mostly sound, sometimes all under one key or behind a mark."""
    lines = []
    for index in range(draw(st.integers(1, 9))):
        lines.append(f"key{index}: {draw(st.sampled_from(['1', 'text', '[1, 2]', '{x: 1}', '', '|', '1.5']))}")
        for inner in range(draw(st.integers(0, 3))):
            if lines[-1].endswith((": ", ": |")) or lines[-1].startswith(" "):
                lines.append(f"  in{inner}: {draw(st.integers(0, 9))}")
    text = "\n".join(lines) + "\n"
    if draw(st.booleans()):
        text = "herz:\n" + "".join(f"  {line}\n" for line in text.splitlines())
    return draw(st.sampled_from(["", "---\n", "# head\n"])) + text


@settings(max_examples=examples(500))
@given(edited(st.one_of(nested_yaml(), st.lists(YAML_LINES, max_size=14).map("\n".join)), YAML_PARTS))
@example(("k6: >+\n  a\nb: 1\nc: 2\nd: 333333333333\n", "k6: >+\n  a\n\n\nb: 1\nc: 2\nd: 333333333333\n"))
@example(
    ("a.b: 1\n" + "x: 11111111111111111111\n" + "c: 1\n", "a.b: 1\n" + "x: 11111111111111111111\n" + "a: {b: 2}\n")
)
@example(("l: 1\nm: 11111111111111111111\nn: 2\n", "l: '1\nm: 11111111111111111111\nn: 2'\n"))
def test_a_yaml_document_after_any_edit(edit):
    before, after = edit
    check(before, after, "yaml")


NAMES = st.sampled_from(["a", "b", "c", "d", "max-x", "max_x", "a.b", "x[q.r]", 'q"', "{", "e", "f", "g", "h", "i"])
SCALARS: st.SearchStrategy[Any] = st.sampled_from(
    [1, 2.5, "x", "}", ', "a": 1', '"', "${a}", None, True, 10**20, 1e17, "\\", [], [1], [{"a": 1}], {}]
)
TREES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.dictionaries(NAMES, inner, max_size=6), max_leaves=30
)
TABLES = st.dictionaries(NAMES, TREES, min_size=1, max_size=12)
STYLES = st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}, {"indent": 2, "separators": (" ,", " : ")}])
JSON_PARTS = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"', '"a": 1', ', "z": {"y": 1}', "9", " ", "\n", "\\", "null", "1e400", ""]
)


@settings(max_examples=examples(150))
@given(edited(st.builds(json.dumps, TABLES), JSON_PARTS))
def test_a_json_document_after_any_edit(edit):
    before, after = edit
    check(before, after, "json")


@settings(max_examples=examples(150))
@given(TABLES, st.data(), STYLES)
def test_a_json_document_after_a_change_of_a_value(table, data, style):
    before = json.dumps(table, **style)
    table = json.loads(before)  # a copy of our own to change
    tables = [table]
    for found in tables:
        tables.extend(value for value in found.values() if isinstance(value, dict))
    target = data.draw(st.sampled_from(tables))
    if target and data.draw(st.booleans()):
        del target[data.draw(st.sampled_from(sorted(target)))]
    if data.draw(st.booleans()):
        target[data.draw(NAMES)] = data.draw(TREES)
    check(before, json.dumps(table, **style), "json")


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=10), st.binary(max_size=10))
def test_the_common_ends_of_two_texts_are_found(head, tail, a, b):
    a, b = head + a + tail, head + b + tail
    prefix = common_prefix(a, b)
    assert a[:prefix] == b[:prefix]
    assert prefix == min(len(a), len(b)) or a[prefix] != b[prefix]
    suffix = common_suffix(a, b, min(len(a), len(b)) - prefix)
    assert a[len(a) - suffix :] == b[len(b) - suffix :]
    assert suffix == min(len(a), len(b)) - prefix or a[-suffix - 1] != b[-suffix - 1]


@pytest.mark.parametrize("format", ["yaml", "json"])
def test_one_changed_value_is_one_event_and_shares_the_rest(format):
    table = {f"s{n}": {"port": n, "host": f"h{n}"} for n in range(20)}
    text = (
        json.dumps(table, indent=1)
        if format == "json"
        else "".join(f"{name}:\n  port: {value['port']}\n  host: {value['host']}\n" for name, value in table.items())
    )
    old = decode(text.encode(), format, name="n")
    new, events = redecode(old, text.replace("h7", "other").encode())
    assert events is not None
    assert [tuple(event) for event in events] == [(("s7", "host"), "h7", "other")]
    assert new.tree["s8"] is old.tree["s8"]
    assert redecode(new, new.data) == (new, ())


@pytest.mark.parametrize("format", ["toml", "properties", "dotenv"])
def test_other_formats_are_decoded_in_full(format):
    data = {"toml": b"a = 1\n", "properties": b"a=1\n", "dotenv": b"A=1\n"}[format]
    new, events = redecode(decode(data, format, name="n"), data.replace(b"1", b"2"))
    assert events is None
    assert thaw(new.tree) in ({"a": 2}, {"a": "2"})


@given(
    st.text("a$é€😀", max_size=6),
    st.integers(0, 20),
    st.integers(0, 20),
    st.binary(max_size=5) | st.text("é€😀").map(str.encode),
)
def test_an_edit_keeps_text_exactly_where_the_whole_is_text(text: str, start: int, end: int, inserted: bytes) -> None:
    old = text.encode()
    new = old[:start] + inserted + old[max(start, end) :]
    try:
        new.decode()
    except UnicodeDecodeError:
        expected = False
    else:
        expected = True
    assert Edit.between(old, new).keeps_text(old, new) is expected


@pytest.mark.parametrize("pad", range(4))
@pytest.mark.parametrize("inserted", [b"x", "é".encode(), "😀".encode(), b"\xc3", b"\xf0\x9f\x98", b"\xa9", b"\xff"])
def test_a_large_edit_is_text_exactly_where_the_whole_is(pad: int, inserted: bytes) -> None:
    block = 64 * 1024
    old = b"a" * 4 * block
    for at in (block, 2 * block):
        new = b"b" * (at - pad) + inserted + b"b" * block
        try:
            new.decode()
            expected = True
        except UnicodeDecodeError:
            expected = False
        assert Edit.between(old, new).keeps_text(old, new) is expected
        assert Edit.between(old, new[: at - pad] + inserted).keeps_text(old, new[: at - pad] + inserted) is expected
