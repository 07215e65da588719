"""What YAML means here: the 1.2 core schema, merge keys, bounded aliases, one document."""

from __future__ import annotations

import math
from typing import Any

import pytest

from herz.errors import DocumentMalformed, DocumentTooLarge, DuplicateKey
from herz.formats.decode import DEFAULT, Limits, decode


def read(text: str, limits: Limits = DEFAULT) -> dict[str, Any]:
    return dict(decode(text.encode(), "yaml", name="app.yml", limits=limits).tree)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"), ("no", "no"), ("yes", "yes"), ("on", "on"), ("y", "y"), ("True", True), ("FALSE", False),
        ("tRue", "tRue"), ("010", 10), ("0o17", 15), ("0x1F", 31), ("0X1F", "0X1F"), ("0b1", "0b1"), ("+0x1", "+0x1"),
        ("1e3", 1000.0), ("1:30", "1:30"), ("12:30:45", "12:30:45"), ("2024-01-01", "2024-01-01"), ("1_000", "1_000"),
        ("_1", "_1"), ("~", None), ("", None), ("Null", None), ("nUll", "nUll"), (".5", 0.5), ("5.", 5.0), ("-0", 0),
        ("+12", 12), (".inf", math.inf), ("-.INF", -math.inf), ("inf", "inf"), ("1.2.3", "1.2.3"), ("'1'", "1"),
        ("!!str 1", "1"), ("!!int '3'", 3), ("!!float 3", 3.0),
        ("|\n  a\n  b", "a\nb\n"), ("|-\n  a\n  b", "a\nb"), (">-\n  a\n  b", "a b"),
        ("http://x:1/y", "http://x:1/y"), ("[1, a]", [1, "a"]), ("[]", []), ("{}", {}), ("{b: 1}", {"b": 1}),
    ],
)  # fmt: skip
def test_a_value_is_read_by_the_core_schema(text, value):
    found = read(f"k: {text}\n")["k"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_a_float():
    assert math.isnan(read("k: .nan\n")["k"])


def test_keys_are_text_as_written():
    assert read("8080: a\n0x1F: b\ntrue: c\n~: d\n1e3: e\n") == {
        "8080": "a",
        "0x1F": "b",
        "true": "c",
        "~": "d",
        "1e3": "e",
    }


def test_merge_keys_bring_in_what_is_not_overridden():
    tree = read("base: &b\n  x: 1\n  max-y: 2\nmore: &m {x: 9, z: 3}\nt:\n  <<: [*b, *m]\n  max_y: 5\n")
    assert tree["t"] == {"x": 1, "max_y": 5, "z": 3}


def test_a_merged_key_is_located_where_it_is_written():
    decoded = decode(b"base: &b\n  x: 1\nt:\n  <<: *b\n", "yaml", name="x")
    assert decoded.locate(("t", "x")) == 2


def test_a_quoted_merge_key_is_a_key():
    assert read("t: {'<<': 1}\n") == {"t": {"<<": 1}}


def test_an_alias_is_a_value_of_its_own():
    tree = read("a: &a {x: 1}\nb: *a\nb.y: 2\n")
    assert tree == {"a": {"x": 1}, "b": {"x": 1, "y": 2}}


def test_expanding_aliases_is_bounded():
    laughs = "a0: &a0 [lol, lol, lol]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
    )
    with pytest.raises(DocumentTooLarge, match=r"herz\.config\.limits\.max-alias-nodes"):
        read(laughs)


def test_merging_is_bounded_too():
    laughs = "a0: &a0 {x: 1}\n" + "".join(
        f"a{level}: &a{level} {{{', '.join(f'k{n}: *a{level - 1}' for n in range(10))}}}\n" for level in range(1, 6)
    )
    with pytest.raises(DocumentTooLarge):
        read(laughs, limits=Limits(max_alias_nodes=10_000))


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a: 1\nb: *x\n", "an alias names nothing above", 2),
        ("a: &a\n  b: *a\n", "what an alias names contains itself", 2),
        ("a: 1\nb: !env X\n", "a tag is not known", 2),
        ("a: !!python/object:os.system x\n", "is not known", 1),
        ("a: !!int x\n", "the text is no int", 1),
        ("a: 1\n---\nb: 2\n", "several documents", 2),
        ("a: 1\n[1]: 2\n", "a key is a table or a list", 2),
        ("a: &a x\n*a : 1\n", "a key is an alias", 2),
        ("a: 1\nb:\n\tc: 1\n", "malformed YAML", 3),
        ("a: 'x\n", "malformed YAML", 2),
        ("a: \x07\n", "malformed YAML", 1),
        ("a: 1\nb: \x00\n", "malformed YAML", 2),
        ("a: {b: 1\n", "malformed YAML", 2),
        ("x:\n  <<: 1\n", "takes a table", 2),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text, message, line):
    with pytest.raises(DocumentMalformed, match=message) as caught:
        read(text)
    assert caught.value.where == f"app.yml:{line}"
    assert caught.value.remedy


def test_profiles_belong_into_files_of_their_own():
    with pytest.raises(DocumentMalformed, match=r"application-prod\.yml"):
        read("a: 1\n---\na: 2\n")


@pytest.mark.parametrize(
    "text", ["---\na: 1\n", "# licence\n---\na: 1\n", "%YAML 1.2\n---\na: 1\n", "a: 1\n...\n", "--- {a: 1}\n"]
)
def test_the_marks_of_a_single_document_are_accepted(text):
    assert read(text) == {"a": 1}


def test_duplicates_inside_of_lists_are_refused():
    with pytest.raises(DuplicateKey) as caught:
        read("l:\n- a: 1\n  a: 2\n")
    assert caught.value.where == "app.yml:3"


def test_keys_inside_of_lists_are_kept_as_they_are():
    assert read("l:\n- a.b: 1\n  max-x: 1\n  max_x: 2\n") == {"l": [{"a.b": 1, "max-x": 1, "max_x": 2}]}


def test_lines_are_told_around_block_scalars_comments_and_lists():
    decoded = decode(b"a: |\n  x: 1\n  y: 2\n# c: 3\nl:\n- p: 1\n  q: 2\nb:\n  'c d': 1\n", "yaml", name="x")
    assert dict(decoded.lines()) == {("a",): 1, ("l",): 5, ("b",): 8, ("b", "c d"): 9}
