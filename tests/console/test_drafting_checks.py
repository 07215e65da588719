"""What the editor asks while somebody types: faults with their places, the form, and two edits put together."""

from __future__ import annotations

import pytest

from herz.errors import UsageError
from herz.release.content import Content, LayerText
from herz.server.console.schema_fields import field_at, fields_of, meant
from herz.server.reading import Reading

from .conftest import ADA, BEN, written

DRAFT = "/console/apps/pay/default/draft"
SCHEMA = {
    "title": "Payments",
    "required": ["db"],
    "properties": {
        "db": {
            "title": "Database",
            "required": ["pool"],
            "properties": {
                "pool": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10, "description": "Sessions."},
                "password": {"type": "string"},
                "hosts": {"type": "array", "items": {"type": "string"}},
            },
        },
        "mode": {"enum": ["fast", "safe", 3]},
        "on": {"type": ["boolean", "null"]},
        "rate": {"$ref": "#/$defs/rate"},
        "either": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    },
    "$defs": {"rate": {"type": "number", "exclusiveMinimum": 0}},
}


def content(*texts: str, format: str = "yaml") -> dict[str, object]:
    return {"layers": [{"name": f"layer-{at}.yml", "text": text, "format": format} for at, text in enumerate(texts)]}


def reading(text: str) -> Reading:
    return Reading(Content(layers=(LayerText(name="a.yml", text=text),)))


@pytest.mark.parametrize(
    ("text", "format", "line", "column"),
    [
        ("a: 1\n\tb: 2\n", "yaml", 2, 1),
        ('{"a": 1,}', "json", 1, 9),
        ("a: 1\na: 2\n", "yaml", 2, None),
        ("a = \n", "toml", 1, 5),
        ("A B\n", "env", 1, None),
    ],
)
async def test_a_text_that_cannot_be_read_is_marked_where_it_cannot(browser, text, format, line, column):
    answer = (await browser.post(f"{DRAFT}/check", json={"content": content("ok: 1\n", text, format=format)})).json()
    assert not answer["ok"]
    fault = next(one for one in answer["faults"] if one["layer"] == 1)
    assert (fault["line"], fault["column"]) == (line, column)


async def test_what_the_schema_refuses_is_marked_in_the_layer_that_wins(browser, plane):
    await plane.desk.schemas.put("pay", "default", SCHEMA, by=ADA)
    asked = {"content": content("db:\n  pool: 5\n", "# eu\ndb:\n  pool: 500\n")}
    (fault,) = (await browser.post(f"{DRAFT}/check", json=asked)).json()["faults"]
    assert (fault["layer"], fault["line"], fault["key"]) == (1, 3, "db.pool")


async def test_a_missing_key_has_no_place(browser, plane):
    await plane.desk.schemas.put("pay", "default", SCHEMA, by=ADA)
    (fault,) = (await browser.post(f"{DRAFT}/check", json={"content": content("a: 1\n")})).json()["faults"]
    assert (fault["layer"], fault["line"]) == (None, None)


async def test_checking_writes_nothing(browser, plane):
    await browser.post(f"{DRAFT}/check", json={"content": content("a: 1\n")})
    assert await plane.desk.drafts.facts("pay", "default") is None
    assert await plane.audit.entries() == ()


async def test_a_fault_quotes_no_secret(browser, plane):
    await plane.desk.schemas.put("pay", "default", SCHEMA, by=ADA)
    answer = await browser.post(f"{DRAFT}/check", json={"content": content("db:\n  pool: 1\n  password: [hunter2]\n")})
    assert answer.json()["faults"]
    assert "hunter2" not in answer.text


# --- the form


def test_a_form_has_a_field_for_everything_that_it_can_say():
    fields = {field.key: field for field in fields_of(SCHEMA, reading("db:\n  pool: 5\nmode: safe\n"))}
    inner = {field.key: field for field in fields["db"].fields}
    assert {key: field.kind for key, field in (fields | inner).items()} == {
        "db": "table",
        "db.pool": "integer",
        "db.password": "text",
        "db.hosts": "list",
        "mode": "choice",
        "on": "boolean",
        "rate": "number",
        "either": "other",
    }
    pool = inner["db.pool"]
    assert (pool.value, pool.where, pool.required, pool.default) == ("5", "a.yml:2", True, "10")
    assert dict(pool.bounds) == {"minimum": "1", "maximum": "100"}
    assert fields["mode"].value == '"safe"'
    assert not fields["rate"].required


def test_a_secret_is_masked_in_its_field():
    (field,) = [one for one in fields_of(SCHEMA, reading("db:\n  password: hunter2\n"))[0].fields if one.secret]
    assert (field.key, field.value) == ("db.password", "••••")


@pytest.mark.parametrize(
    ("key", "typed", "value"),
    [
        ("db.pool", " 7 ", 7),
        ("db.pool", "${POOL}", "${POOL}"),
        ("rate", "0.5", 0.5),
        ("rate", "3", 3),
        ("on", "true", True),
        ("mode", "3", 3),
        ("db.hosts", "one\r\n\r\ntwo", ["one", "two"]),
        ("db.password", "a\r\nb", "a\nb"),
    ],
)
def test_what_is_typed_becomes_what_the_schema_says(key, typed, value):
    assert meant(field_at(fields_of(SCHEMA, None), key), typed) == value


@pytest.mark.parametrize(
    ("key", "typed"), [("db.pool", "x"), ("rate", "inf"), ("on", "yes"), ("mode", "4"), ("db", "")]
)
def test_what_a_field_cannot_be_is_refused(key, typed):
    with pytest.raises(UsageError, match=r"is no|has no field"):
        meant(field_at(fields_of(SCHEMA, None), key), typed)


def test_a_schema_that_refers_to_itself_makes_a_form_that_ends():
    schema = {"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#/properties/b"}, "c": {"$ref": "#/nowhere"}}}
    fields = fields_of(schema, None)
    assert [field.key for field in fields] == ["a", "b", "c"]


def test_a_schema_of_thousands_of_keys_makes_a_form_of_hundreds():
    schema = {"properties": {f"k{number}": {"type": "string"} for number in range(5000)}}
    assert len(fields_of(schema, None)) == 300


async def test_the_form_shows_hostile_schemas_as_text(browser, plane):
    schema = {"title": "<b>t</b>", "properties": {"<i>": {"type": "string", "description": "</p><script>x</script>"}}}
    await plane.desk.schemas.put("pay", "default", schema, by=ADA)
    page = await browser.post(f"{DRAFT}/form", json={"content": content("a: 1\n")})
    assert page.status_code == 200
    assert "<script>" not in page.text
    assert "<b>" not in page.text
    assert "<i>" not in page.text


async def test_a_field_is_set_in_the_text_and_the_rest_stays(browser, plane):
    await plane.desk.schemas.put("pay", "default", SCHEMA, by=ADA)
    text = "# ours\ndb:\n  pool: 5  # many\nmode: safe\n"
    asked = {"content": content(text), "key": "db.pool", "typed": "9"}
    (layer,) = (await browser.post(f"{DRAFT}/set", json=asked)).json()["layers"]
    assert layer["text"] == text.replace("5", "9")


async def test_a_field_is_taken_out_of_the_text(browser, plane):
    await plane.desk.schemas.put("pay", "default", SCHEMA, by=ADA)
    asked = {"content": content("db:\n  pool: 5\nmode: safe\n"), "key": "mode", "remove": True}
    (layer,) = (await browser.post(f"{DRAFT}/set", json=asked)).json()["layers"]
    assert layer["text"] == "db:\n  pool: 5\n"


async def test_a_new_key_goes_to_the_layer_that_was_chosen(browser, plane):
    await plane.desk.schemas.put("pay", "default", SCHEMA, by=ADA)
    asked = {"content": content("a: 1\n", "b: 1\n"), "key": "rate", "typed": "1", "layer": "layer-0.yml"}
    first, second = (await browser.post(f"{DRAFT}/set", json=asked)).json()["layers"]
    assert (first["text"], second["text"]) == ("a: 1\nrate: 1\n", "b: 1\n")


# --- two edits put together


async def saved_by_ben(plane, text):
    seen = (await plane.desk.drafts.facts("pay", "default")).revision
    layers = (LayerText(name="layer-0.yml", text=text),)
    await plane.desk.drafts.write("pay", "default", Content(layers=layers), by=BEN, expect=seen)
    return seen


async def test_what_only_the_other_changed_is_set_in_my_text(browser, plane):
    await written(plane, "a: 1\nb: 1\nc: 1\n")
    seen = await saved_by_ben(plane, "a: 1\nb: 2\n")
    asked = {"content": content("# mine\na: 5\nb: 1\nc: 1\n"), "seen": seen}
    answer = (await browser.post(f"{DRAFT}/merge", json=asked)).json()
    assert answer["layers"][0]["text"] == "# mine\na: 5\nb: 2\n"
    assert answer["revision"] == (await plane.desk.drafts.facts("pay", "default")).revision


def keys(numbers, value):
    return "".join(f"k{number}: {value}\n" for number in numbers)


async def test_many_keys_of_theirs_are_taken_at_once(browser, plane):
    await written(plane, keys(range(100), 1))
    seen = await saved_by_ben(plane, keys(range(50, 100), 2))
    mine = "# mine\n" + keys(range(100), 1)
    answer = (await browser.post(f"{DRAFT}/merge", json={"content": content(mine), "seen": seen})).json()
    assert answer["layers"][0]["text"] == "# mine\n" + keys(range(50, 100), 2)


async def test_too_many_keys_to_be_taken_one_by_one_are_refused_at_once(browser, plane):
    await written(plane, keys(range(2000), 1))
    seen = await saved_by_ben(plane, keys(range(2000), 2))
    answer = await browser.post(f"{DRAFT}/merge", json={"content": content(keys(range(2000), 1)), "seen": seen})
    assert answer.status_code == 422
    assert "too many keys" in answer.text


@pytest.mark.parametrize(("theirs", "text"), [([], "a: 5\nb: 2\n"), (["a"], "a: 3\nb: 2\n")])
async def test_what_both_changed_is_as_it_was_chosen(browser, plane, theirs, text):
    await written(plane, "a: 1\nb: 1\n")
    seen = await saved_by_ben(plane, "a: 3\nb: 2\n")
    asked = {"content": content("a: 5\nb: 1\n"), "seen": seen, "theirs": theirs}
    assert (await browser.post(f"{DRAFT}/merge", json=asked)).json()["layers"][0]["text"] == text


async def test_what_became_null_is_not_put_together_by_guessing(browser, plane):
    await written(plane, "a: 1\nb: 1\n")
    seen = await saved_by_ben(plane, "a: 1\nb: null\n")
    answer = await browser.post(f"{DRAFT}/merge", json={"content": content("a: 5\nb: 1\n"), "seen": seen})
    assert answer.status_code == 422
