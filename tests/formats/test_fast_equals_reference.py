"""The fast ways of decoding read what the careful ones read: YAML against libyaml's events, JSON against its tokens."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from herz.formats import json as json_format
from herz.formats import yaml as yaml_format
from herz.formats.decode import decode, redecode
from herz.formats.fault import DEFAULT, Fault
from herz.formats.settle import Unsettled, settle
from herz.formats.written import build
from herz.formats.yaml_compose import written
from herz.model.tree import adopt, identical

from ..conftest import examples

SCALARS = st.sampled_from(
    [
        "1", "x", "1.5", "'a: b'", '"x\\ty"', "NO", "010", "1e3", "1e400", "1_0", "_1", "0x1F", "0X1F", "0b1",
        "+0x1", "2024-01-01", "12:30:45", "[1, a]", "[a: 1]", "{a: 1, b}", "{a: {b: c}}", "[[1], {x: y}]",
        "a, b", "a # c", "a#b", "- x", "a: b", "~", "", "''", ".inf", ".nan", "1.", "0o17", "08",
        "99999999999999999999", "1e17", "9007199254740993.0", "{}", "[]", "[,]", "{a:b}", "{'a':1}",
        "[a b, c  d]", "?", "!x", "&x a", "*a", "%x", "@x", "|x", ">", "<<", '"\\q"', '"\\/"', '"\\e\\N"',
        '"\\ud83d\\ude00"', "'it''s'", "é", "\u00a0x", "=", "-1", "---x", "tRUE", "0x", "1e", ".e3", "-.5",
        "1,2", "1:2", "a]", "{a", '[":x"]', "[ :x]", "[|a]", "{a: b:c}", "text", "'open", '"open', "[1", "|",
        ">-", "|+", "|2",
    ]
)  # fmt: skip
KEYS = st.sampled_from(
    ["a", "b", "max-x", "max_x", "'q'", '"dq"', "1", "true", "a b", "x.y", "k#", "k:k", "?x", "-x", "[a]", "é", "? e"]
)
REST = st.sampled_from(["more", "x'", 'y"', "2]", "b: 2}", ", 2]", "# c", "a: b", "- x", "", "  deeper"])


@st.composite
def documents(draw):
    """Lines that are often YAML: keys at a few indentations, scalars of every kind, continuations."""
    lines, indent = [], 0
    for _ in range(draw(st.integers(1, 6))):
        shape = draw(st.integers(0, 9))
        if shape < 6:
            lines.append(" " * indent + draw(KEYS) + ":" + draw(st.sampled_from([" ", "  ", "", "\t"])) + draw(SCALARS))
        elif shape < 8:
            lines.append(" " * indent + draw(KEYS) + ":" + draw(st.sampled_from(["", " ", " # c"])))
            indent += draw(st.sampled_from([0, 1, 2]))
        else:
            lines.append(" " * (indent + draw(st.integers(0, 2))) + draw(st.sampled_from(["- ", ""])) + draw(REST))
        if draw(st.integers(0, 5)) == 0:
            indent = draw(st.sampled_from([0, 2]))
    return "\n".join(lines) + draw(st.sampled_from(["", "\n", "\r\n"]))


@settings(max_examples=examples(1500))
@given(documents())
@example("a: >\n")
@example("a: [b,\n  c]\n")
@example('a: "x\n  y"\n')
@example("a: x\n  y\n\n  z\n")
@example("+[-.5---]+1q: 1\n")
def test_what_the_fast_yaml_decoder_is_trusted_with_it_reads_as_the_reference(text):
    raw = yaml_format.quick(yaml_format.without_header(text.encode()))
    if raw is None:
        return
    try:
        settle(raw, DEFAULT)
    except Unsettled:
        return
    assert identical(raw, build(written(text, DEFAULT), DEFAULT)[0])


NAMES = st.sampled_from(["a", "b", "max-x", "max_x", "a.b", "a.b.c", "x[q.r]", "A", "é", "k:", ""])
TREES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([1, 2.5, "x:", '":', None, 1e17, 1e300, 10**20, [], [1.5, "x"], [{"a.b": 1}], {}]),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=12,
)


@settings(max_examples=examples(400))
@given(st.dictionaries(NAMES, TREES, max_size=5), st.sampled_from([None, 1]))
def test_the_fast_json_decoder_agrees_with_the_careful_one(table, indent):
    data = json.dumps(table, indent=indent).encode()
    fault = expected = None
    try:
        expected = build(json_format.written(data, DEFAULT), DEFAULT)
    except Fault as raised:
        fault = raised
    if expected is None:
        with pytest.raises(Fault, match=re.escape(str(fault))):
            json_format.decode(data, DEFAULT)
        return
    assert identical(json_format.decode(data, DEFAULT), expected[0])
    assert json_format.lines(data, DEFAULT) == expected[1]
    assert decode(data, "json", name="n").lines().table == expected[1]


@settings(max_examples=examples(500))
@given(documents())
@example("a:\n  x: 1\nc: 3\na.b: 2\n")
@example("a:\n  b:\n    x: 1\nc: 3\na.b:\n  y: 2\n")
def test_the_lines_of_a_decoded_yaml_document_are_those_of_the_reference(text):
    try:
        expected = build(written(text, DEFAULT), DEFAULT)
    except Fault:
        return
    decoded = decode(text.encode(), "yaml", name="n")
    assert decoded.lines().table == expected[1]
    assert identical(decoded.tree, expected[0])


def test_lines_of_plain_yaml_agree_with_the_reference():
    text = "a: 1\n# b: 2\nb:\n  c: [1, 2]\n  l:\n  - x: 1\n    y: 2\n  - z\nd: 'e: f'\n"
    assert yaml_format.lines(text.encode(), DEFAULT) == build(written(text, DEFAULT), DEFAULT)[1]
    assert decode(text.encode(), "yaml", name="n").lines().table == build(written(text, DEFAULT), DEFAULT)[1]


@pytest.mark.parametrize("yielding", [False, True])
@pytest.mark.parametrize("format", ["json", "yaml"])
def test_lines_of_a_document_that_was_read_in_pieces_agree_with_the_reference(format, yielding):
    table = {f"s{s}": {f"k{k}": f"value-{s}-{k}" for k in range(100)} for s in range(60)}
    text = json.dumps({**table, "large": {f"k{k}": {"x": k} for k in range(6_000)}}, indent=2)
    if format == "yaml":
        text = re.sub(r"(?m)^ {2}", "", re.sub(r'[{}",]', "", text)).replace("\n\n", "\n")
        reference = build(written(text, DEFAULT), DEFAULT)[1]
    else:
        reference = build(json_format.written(text.encode(), DEFAULT), DEFAULT)[1]
    decoded = decode(text.encode(), format, name="n", yielding=yielding)
    assert (decoded._notes.runs is not None) is (yielding or format == "yaml")
    assert decoded.lines().table == reference


def test_lines_follow_a_new_order_of_keys_whose_tables_were_taken_over():
    table = {f"s{s}": {f"k{k}": f"value-{s}-{k}" for k in range(100)} for s in range(200)}
    turned = {name: dict(reversed(inner.items())) for name, inner in reversed(table.items())}
    old = decode(json.dumps(table, indent=2).encode(), "json", name="n")
    new, events = redecode(old, data := json.dumps(turned, indent=2).encode())
    assert events is None
    assert isinstance(new.tree, dict)
    assert adopt(old.tree, new.tree) == []
    assert new.lines().table == build(json_format.written(data, DEFAULT), DEFAULT)[1]


@pytest.mark.parametrize(
    "text",
    [
        '{\n"url": "https://example.org:8080",\n"b": {"c": 1,\n"d": [{"e": 1},\n{"f": 2}]},\n"g": 3}',
        '{\n"a" :\n"x\\":y",\n"b": 1}',
        '{\n"a": "x\\":y",\n"b": 1}',
        '{\n"a.b": 1,\n"a.c": 2}',
        '{\n"a": {"x": 1},\n"c": 3,\n"a.b": 2}',
        '{\n"a": {"b": {"x": 1}},\n"c": 3,\n"a.b": {\n"y": 2}}',
        '{"a":\n1, "b": 2, "c": 3\n}',
        "{\n" + ",\n".join(f'"k{number}": {number}' for number in range(2000)) + ',\n"a.b": 1}',
        '{\n"pad": "' + "x" * (1 << 20) + '",\n"a": 1,\n"b":\n{"c": 2}}',
    ],
)
def test_lines_of_json_agree_with_the_reference(text):
    expected = build(json_format.written(text.encode(), DEFAULT), DEFAULT)[1]
    assert json_format.lines(text.encode(), DEFAULT) == expected
    assert decode(text.encode(), "json", name="n").lines().table == expected


def test_a_large_table_with_an_empty_name_has_the_lines_or_the_fault_of_the_reference():
    data = ("{\n" + ",\n".join(f'"k{number}": {number}' for number in range(2000)) + ',\n"": 1}').encode()
    with pytest.raises(Fault):
        json_format.lines(data, DEFAULT)
