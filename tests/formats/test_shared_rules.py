"""What holds for every format: names, limits, encodings, duplicates, conflicts, positions."""

from __future__ import annotations

import pytest

from herz.errors import DocumentMalformed, DocumentTooLarge, DuplicateKey, KeyConflict, UsageError
from herz.formats.decode import FORMATS, Limits, decode, format_of

SAMPLE = {
    "yaml": b"# c\na:\n  b: 1\n  c: x\nd.e: true\n",
    "json": b'{\n "a": {\n  "b": 1,\n  "c": "x"},\n "d.e": true\n}\n',
    "toml": b'# c\n[a]\nb = 1\nc = "x"\n[d]\ne = true\n',
    "properties": b"# c\na.b = 1\na.c = x\nd.e: true\n",
    "dotenv": b"# c\nA__B=1\nexport A__C='x'\nD__E=true\n",
}
TEXTUAL = {"a": {"b": "1", "c": "x"}, "d": {"e": "true"}}
TYPED = {"a": {"b": 1, "c": "x"}, "d": {"e": True}}


@pytest.mark.parametrize(
    ("filename", "format"),
    [
        ("application.yml", "yaml"),
        ("conf/a.YAML", "yaml"),
        ("a.json", "json"),
        ("a.toml", "toml"),
        ("a.properties", "properties"),
        (".env", "dotenv"),
        ("x/.env.local", "dotenv"),
        ("prod.env", "dotenv"),
        ("a.txt", None),
        ("yaml", None),
    ],
)
def test_a_file_name_tells_its_format(filename, format):
    assert format_of(filename) == format


def test_an_unknown_format_is_a_usage_error():
    with pytest.raises(UsageError, match="use one of yaml, json"):
        decode(b"", "ini", name="x")


@pytest.mark.parametrize("format", FORMATS)
def test_a_sample_decodes_to_nested_tables(format):
    expected = TEXTUAL if format in ("properties", "dotenv") else TYPED
    assert decode(SAMPLE[format], format, name="x").tree == expected


@pytest.mark.parametrize("format", FORMATS)
def test_a_byte_order_mark_is_dropped(format):
    assert (
        decode(b"\xef\xbb\xbf" + SAMPLE[format], format, name="x").tree == decode(SAMPLE[format], format, name="x").tree
    )


@pytest.mark.parametrize("format", FORMATS)
def test_windows_line_ends_change_nothing(format):
    windows = decode(SAMPLE[format].replace(b"\n", b"\r\n"), format, name="x")
    unix = decode(SAMPLE[format], format, name="x")
    assert windows.tree == unix.tree
    assert dict(windows.lines()) == dict(unix.lines())


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_document_is_an_empty_tree(format, data):
    assert decode(data, format, name="x").tree == {}


@pytest.mark.parametrize(
    ("format", "lines"),
    [("yaml", (2, 3, 5)), ("json", (2, 3, 5)), ("toml", (2, 3, 6)), ("properties", (2, 2, 4)), ("dotenv", (2, 2, 4))],
)
def test_every_key_has_its_line(format, lines):
    decoded = decode(SAMPLE[format], format, name="x")
    assert (decoded.locate(("a",)), decoded.locate(("a", "b")), decoded.locate(("d", "e"))) == lines
    assert decoded.locate(("nowhere",)) is None
    assert decoded.locate(("a", "b", "deeper")) is None


@pytest.mark.parametrize("format", FORMATS)
def test_invalid_utf8_is_named_with_line_and_byte(format):
    with pytest.raises(DocumentMalformed, match=r"not UTF-8: byte 0xff at byte 3 of the line \(app:2\)"):
        decode(b"a\nb \xff", format, name="app")


@pytest.mark.parametrize("format", FORMATS)
def test_more_bytes_than_the_limit_are_refused_naming_the_setting(format):
    with pytest.raises(DocumentTooLarge, match=r"herz\.config\.limits\.max-bytes"):
        decode(SAMPLE[format], format, name="x", limits=Limits(max_bytes=10))


DUPLICATES = {
    "yaml": b"a: 1\nb: 2\na: 3\n",
    "json": b'{"a": 1,\n"b": 2,\n"a": 3}',
    "toml": b"a = 1\nb = 2\na = 3\n",
    "properties": b"a=1\nb=2\na=3\n",
    "dotenv": b"A=1\nB=2\nA=3\n",
}


@pytest.mark.parametrize("format", FORMATS)
def test_a_key_written_twice_is_refused_with_both_lines(format):
    with pytest.raises(DuplicateKey) as caught:
        decode(DUPLICATES[format], format, name="app")
    assert caught.value.where == "app:3"
    assert "'a' is written twice" in caught.value.what
    assert "line 1" in (caught.value.remedy or "")


SPELLINGS = {
    "yaml": b"x:\n  max-retries: 1\n  max_retries: 2\n",
    "json": b'{"x": {\n"max-retries": 1,\n"max_retries": 2}}',
    "toml": b"[x]\nmax-retries = 1\nmax_retries = 2\n",
    "properties": b"\nx.max-retries=1\nx.max_retries=2\n",
    "dotenv": b"\nX__MAX-RETRIES=1\nX__MAX_RETRIES=2\n",
}


@pytest.mark.parametrize("format", FORMATS)
def test_two_spellings_of_a_key_are_refused_naming_both(format):
    with pytest.raises(DuplicateKey) as caught:
        decode(SPELLINGS[format], format, name="app")
    assert caught.value.where == "app:3"
    assert "'x.max-retries' and 'x.max_retries'" in caught.value.what


CONFLICTS = {
    "yaml": b"a: 1\na.b: 2\n",
    "json": b'{"a": 1,\n"a.b": 2}',
    "toml": b"a = 1\na.b = 2\n",
    "properties": b"a=1\na.b=2\n",
    "dotenv": b"A=1\nA__B=2\n",
}


@pytest.mark.parametrize("format", FORMATS)
def test_a_key_that_is_value_and_table_is_refused_with_both_lines(format):
    with pytest.raises(KeyConflict, match=r"both a value \(line 1\) and a table \(line 2\)"):
        decode(CONFLICTS[format], format, name="app")


DEEP = {
    "yaml": [
        b"x: " + b"[" * 10_000 + b"]" * 10_000,
        b"- " * 200_000,
        b"{a: " * 10_000,
        b"".join(b" " * depth + b"a:\n" for depth in range(2_000)),
    ],
    "json": [b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b'{"a":' + b"[" * 1_000_000],
    "toml": [b"a = " + b"[" * 10_000 + b"]" * 10_000, b".".join([b"a"] * 10_000) + b" = 1"],
    "properties": [b".".join([b"a"] * 10_000) + b" = 1"],
    "dotenv": [b"__".join([b"A"] * 10_000) + b"=1"],
}


@pytest.mark.parametrize(("format", "data"), [(format, data) for format in FORMATS for data in DEEP[format]])
def test_ten_thousand_levels_are_refused_and_overflow_no_stack(format, data):
    with pytest.raises(DocumentTooLarge, match="deep"):
        decode(data, format, name="app")


def test_deep_explicit_keys_in_yaml_overflow_no_stack():
    with pytest.raises(DocumentMalformed):
        decode(b"? - " * 200_000, "yaml", name="app")


@pytest.mark.parametrize("format", ["yaml", "json"])
def test_depth_counts_alike_for_nested_and_dotted_keys(format):
    limits = Limits(max_depth=3)
    for data in (b'{"a": {"b": {"c": 1}}}', b'{"a.b.c": 1}', b'{"a": {"b": [1]}}', b'{"a": {"b.c": 1}}'):
        decode(data, format, name="x", limits=limits)
    for data in (b'{"a": {"b": {"c": {}}}}', b'{"a.b.c.d": 1}', b'{"a": {"b": [[1]]}}', b'{"a": {"b.c": []}}'):
        with pytest.raises(DocumentTooLarge):
            decode(data, format, name="x", limits=limits)


@pytest.mark.parametrize("format", ["yaml", "json", "properties"])
def test_brackets_quote_a_dot_in_a_key(format):
    data = {"yaml": b"r[a.b].t: 1\n", "json": b'{"r[a.b].t": 1}', "properties": b"r[a.b].t=1\n"}[format]
    tree = decode(data, format, name="x").tree
    assert list(tree["r"]) == ["a.b"]
    assert decode(data, format, name="x").locate(("r", "a.b", "t")) == 1


def test_a_quoted_key_in_toml_is_one_segment():
    assert decode(b'"a.b" = 1\n', "toml", name="x").tree == {"a.b": 1}


@pytest.mark.parametrize("format", ["yaml", "json", "properties"])
@pytest.mark.parametrize("key", ["a..b", ".a", "a.", "a[b"])
def test_a_key_that_is_none_is_malformed_with_its_line(format, key):
    data = {"yaml": f"x: 1\n{key}: 1\n", "json": f'{{"x": 1,\n"{key}": 1}}', "properties": f"x=1\n{key}=1\n"}[format]
    with pytest.raises(DocumentMalformed) as caught:
        decode(data.encode(), format, name="app")
    assert caught.value.where == "app:2"
    assert caught.value.remedy


@pytest.mark.parametrize("format", ["yaml", "json"])
@pytest.mark.parametrize("data", [b"[1]", b'"x"', b"1", b"null"])
def test_a_root_that_is_no_table_is_malformed(format, data):
    with pytest.raises(DocumentMalformed, match="not a table"):
        decode(data, format, name="x")


@pytest.mark.parametrize("format", FORMATS)
def test_references_are_noticed(format):
    assert not decode(SAMPLE[format], format, name="x").references
    with_reference = SAMPLE[format].replace(b"true", b'"${a.b}"')
    assert decode(with_reference, format, name="x").references


@pytest.mark.parametrize("format", FORMATS)
def test_values_never_appear_in_a_message(format):
    broken = {
        "yaml": b"password: 'hunter2\n",
        "json": b'{"password": "hunter2}',
        "toml": b'password = "hunter2\n',
        "properties": b"password=hunter2\npassword=hunter3\n",
        "dotenv": b"PASSWORD='hunter2\n",
    }[format]
    with pytest.raises(DocumentMalformed) as caught:
        decode(broken, format, name="x")
    assert "hunter" not in str(caught.value)
