"""Single keys set in a text: the rest of it stays, and the text says afterwards exactly what was meant."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from herz.errors import UsageError
from herz.model.key import join
from herz.model.tree import leaves, put, remove, spelled
from herz.release.content import Content, Format, LayerText
from herz.server import editing
from herz.server.problems import Problem
from herz.server.reading import Reading, decoded


def edited_at_once(content, changes, layer=None):
    return editing.edited_at_once(Reading(content), changes, layer)


def edit(text, changes, format="yaml"):
    made = edited_at_once(Content(layers=(LayerText(name="a", text=text, format=format),)), changes)
    return made.layers[0].text


YAML = """\
# the service
service:
  timeout: 3s   # slow bank
  retries: 3

  hosts:
    - a
    - b
# the pool
db: {pool: 5, "url": "pg://x"}
note: |
  two
  lines
empty:
last: 1"""


@pytest.mark.parametrize(
    ("changes", "before", "after"),
    [
        ({"service.timeout": "5s"}, "timeout: 3s   # slow bank", "timeout: 5s   # slow bank"),
        ({"service.retries": 4}, "retries: 3", "retries: 4"),
        ({"service.retries": "4"}, "retries: 3", 'retries: "4"'),
        ({"service.retries": True}, "retries: 3", "retries: true"),
        ({"service.retries": "yes"}, "retries: 3", 'retries: "yes"'),
        ({"db.pool": 6}, "{pool: 5,", "{pool: 6,"),
        ({"db.min": 1}, '"url": "pg://x"}', '"url": "pg://x", "min": 1}'),
        ({"db.pool": None}, '{pool: 5, "url"', '{"url"'),
        ({"db.url": None}, ', "url": "pg://x"}', "}"),
        ({"service.hosts": ["c"]}, "  hosts:\n    - a\n    - b\n", '  hosts: ["c"]\n'),
        ({"service.hosts": None}, "  hosts:\n    - a\n    - b\n", ""),
        ({"service.retries": None}, "  retries: 3\n", ""),
        ({"note": "one"}, "note: |\n  two\n  lines\n", "note: one\n"),
        ({"note": None}, "note: |\n  two\n  lines\n", ""),
        ({"empty": 1}, "empty:\n", "empty: 1\n"),
        ({"empty.below": 1}, "empty:\n", 'empty: {"below": 1}\n'),
        ({"last": 2}, "last: 1", "last: 2"),
        ({"last": None}, "last: 1", ""),
        ({"new": 1}, "last: 1", "last: 1\nnew: 1\n"),
        ({"service.port": 80}, "    - b\n", "    - b\n  port: 80\n"),
        ({"service.tls.cert": "x.pem"}, "    - b\n", "    - b\n  tls:\n    cert: x.pem\n"),
        ({"Service.Time-Out": "5s"}, "timeout: 3s", "timeout: 5s"),
        ({"service.timeout": "5s", "last": 2}, None, None),
        ({"nothing.there": None}, "", ""),
    ],
)
def test_yaml_keeps_everything_else(changes, before, after):
    made = edit(YAML, changes)
    if before is not None:
        assert made == YAML.replace(before, after, 1)
    else:
        assert "timeout: 5s   # slow bank" in made
        assert made.endswith("last: 2")


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ({"a": 2}, '{\n  "a": 2,\n  "b": {"c": "x"}\n}\n'),
        ({"b.c": [1]}, '{\n  "a": 1,\n  "b": {"c": [1]}\n}\n'),
        ({"b.d": None}, '{\n  "a": 1,\n  "b": {"c": "x"}\n}\n'),
        ({"d": "y"}, '{\n  "a": 1,\n  "b": {"c": "x"},\n  "d": "y"\n}\n'),
        ({"b": None}, '{\n  "a": 1\n}\n'),
        ({"b.c": None}, '{\n  "a": 1\n}\n'),
        ({"e.f": {"g": 1}}, '{\n  "a": 1,\n  "b": {"c": "x"},\n  "e": {"f": {"g": 1}}\n}\n'),
    ],
)
def test_json_keeps_everything_else(changes, after):
    text = '{\n  "a": 1,\n  "b": {"c": "x"}\n}\n'
    made = edit(text, changes, "json")
    assert made == after
    json.loads(made)


@pytest.mark.parametrize(
    ("format", "text", "changes", "after"),
    [
        ("properties", "# c\na.b = 1\nc: x\n", {"a.b": 2}, "# c\na.b = 2\nc: x\n"),
        ("properties", "a.b=1\n", {"c.d": "x y"}, "a.b=1\nc.d=x y\n"),
        ("properties", "a=1 \\\n  2\nb=3\n", {"a": 9}, "a=9\nb=3\n"),
        ("properties", "a=1\nb=2\n", {"a": None}, "b=2\n"),
        ("env", "A__B=1\n# c\nC=2\n", {"a.b": "x y"}, 'A__B="x y"\n# c\nC=2\n'),
        ("env", "A=1\n", {"b.c": 5}, "A=1\nB__C=5\n"),
        ("toml", '# c\na = 1\n[b]\nc = "x"\n', {"b.c": "y"}, '# c\na = 1\n[b]\nc = "y"\n'),
        ("toml", "a = 1\n[b]\nc = 1\n", {"b.d": [1]}, "a = 1\n[b]\nd = [1]\nc = 1\n"),
        ("toml", "a = 1\n[b]\nc = 1\n", {"d.e": True}, "a = 1\nd.e = true\n[b]\nc = 1\n"),
        ("yaml", "", {"a.b": 1}, "a:\n  b: 1\n"),
        ("yaml", "# only a comment", {"a": 1}, "# only a comment\na: 1\n"),
        ("yaml", "a.b: 1\n", {"a.b": 2}, "a.b: 2\n"),
        ("yaml", "a: 1\r\nb: 2\r\n", {"a": 3}, "a: 3\r\nb: 2\r\n"),
        ("yaml", "ü: 'ä'\nz: 1\n", {"z": 2}, "ü: 'ä'\nz: 2\n"),
        ("json", "", {"a": 1}, '{"a": 1}\n'),
    ],
)
def test_other_formats_and_spellings(format, text, changes, after):
    assert edit(text, changes, format) == after


@pytest.mark.parametrize(
    ("text", "changes"), [("base: &b {x: 1}\nother: *b\n", {"other.x": 2}), ("a: &x 1\nb: *x\nc: *x\n", {"c": 2})]
)
def test_an_alias_is_not_set_where_its_anchor_is(text, changes):
    with pytest.raises(Problem, match="cannot be set"):
        edit(text, changes)


def test_a_refusal_names_key_and_layer():
    with pytest.raises(Problem) as caught:
        edit("base: &b {x: 1}\nother: *b\n", {"other.x": 2})
    assert (caught.value.status, caught.value.kind, caught.value.where) == (422, "not-editable", "a")
    assert "other.x" in caught.value.what


@pytest.mark.parametrize("key", ["", "a..b", "a.", "a[b"])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(UsageError):
        edit("a: 1\n", {key: 1})


def two_layers():
    return Content(layers=(LayerText(name="low", text="a: 1\nb: 1\n"), LayerText(name="high", text="a: 2\n")))


def test_a_key_is_set_in_the_highest_layer_that_has_it():
    made = edited_at_once(two_layers(), {"a": 3, "b": 3})
    assert [layer.text for layer in made.layers] == ["a: 1\nb: 3\n", "a: 3\n"]


def test_a_new_key_goes_to_the_last_layer():
    assert edited_at_once(two_layers(), {"c": 3}).layers[1].text == "a: 2\nc: 3\n"


def test_a_layer_that_is_named_takes_the_key():
    assert edited_at_once(two_layers(), {"a": 3}, "low").layers[0].text == "a: 3\nb: 1\n"


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="low, high"):
        edited_at_once(two_layers(), {"a": 3}, "middle")


names = st.sampled_from(["a", "b", "c-d", "e_f", "g.h", "ü", "1", "true", "x y", "#", ":", "- -"])
scalars = st.one_of(
    st.integers(-(10**18), 10**18),
    st.booleans(),
    st.sampled_from(
        ["", " ", "x", "yes", "null", "1", "1.0", "a: b", "# c", "- d", "'q", '"', "\\", "ä\n\tö", "3s", "~", "{", "&a"]
    ),
    st.floats(-1e6, 1e6).map(lambda number: round(number, 3)),
)
values = st.one_of(scalars, st.lists(scalars, max_size=3))
trees = st.recursive(
    st.dictionaries(names, values, max_size=4),
    lambda inner: st.dictionaries(names, st.one_of(values, inner), min_size=1, max_size=4),
    max_leaves=8,
)


@given(
    trees,
    st.lists(names, min_size=1, max_size=3),
    st.one_of(st.none(), values),
    st.sampled_from(["block", "flow", "json"]),
)
def test_the_text_says_exactly_what_was_meant(tree, path, value, style):
    format: Format = "json" if style == "json" else "yaml"
    if style == "json":
        text = json.dumps(tree, indent=2, ensure_ascii=False)
    else:
        text = yaml.safe_dump(tree, default_flow_style=style == "flow", allow_unicode=True, sort_keys=False)
    layer = LayerText(name="a", text=text, format=format)
    try:
        before = decoded(layer).tree
    except Exception:  # two spellings of one name, and the like: no document to begin with
        return
    path = tuple(path)
    try:
        made = edited_at_once(Content(layers=(layer,)), {join(path): value}).layers[0]
    except Problem as refused:
        assert refused.kind == "not-editable"  # noqa: PT017
        return
    path = spelled(before, path)
    expected = remove(before, path) if value is None else put(before, path, value)
    assert flat(decoded(made).tree) == flat(expected)


def flat(tree):
    return {path: value for path, value in leaves(tree) if value != {}}
