"""The published definition of a fingerprint, read back from its page and computed a second time, plainly."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.merge.fingerprint import Fingerprint, fingerprint_of
from herz.model.number import number
from herz.model.secret import SecretKeys
from herz.model.tree import ABSENT, put, remove

PAGE = Path(__file__).parents[2] / "docs" / "fingerprint.md"
SECRETS = SecretKeys()
VECTORS = re.findall(r"^\| `(.+)` \| `(sha256:[0-9a-f]{64})` \|$", PAGE.read_text(), re.MULTILINE)


def shortest(value: float) -> str:
    """The shortest digits that give back the double, in exponent notation below 1e-5."""
    digits = Decimal(repr(value)).normalize()
    if abs(value) >= 1e-5:
        return f"{digits:f}"
    coefficient, exponent = f"{digits:e}".split("e")
    return f"{coefficient}e{int(exponent)}"


def plain_json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{plain_json(k)}:{plain_json(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(plain_json, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return plain_json({"\u0000number": repr(value)})
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else shortest(value)
    return json.dumps(value, ensure_ascii=False)


def filled(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


def small(table: dict[str, Any]) -> bool:
    return len(table) <= 32 and not any(map(filled, table.values()))


def digest(table: dict[str, Any], depth: int = 0) -> bytes:
    if len(table) <= 32 or depth == 8:
        inside = {
            k: v for k, v in table.items() if not filled(v) or (len(v) <= 32 and not any(map(filled, v.values())))
        }
        body = b"b" + plain_json(inside).encode()
        if others := sorted(set(table) - set(inside)):
            body += plain_json(others).encode() + b"".join(digest(table[name]) for name in others)
        return sha256(body).digest()
    parts: list[dict[str, Any]] = [{} for _ in range(16)]
    for name, value in table.items():
        parts[int(f"{crc32(name.encode()):08x}"[depth], 16)][name] = value
    return sha256(b"t" + b"".join(digest(part, depth + 1) if part else bytes(32) for part in parts)).digest()


@pytest.mark.parametrize(("configuration", "expected"), VECTORS)
def test_the_vectors_on_the_page_hold(configuration: str, expected: str) -> None:
    many = {f"key{i:03d}": i for i in range(33)}
    tree = many if configuration.startswith("key000") else json.loads(configuration, parse_float=number)
    assert fingerprint_of(tree, SECRETS) == expected


def test_the_page_has_vectors() -> None:
    assert len(VECTORS) >= 14


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(exclude_categories=["Cs"]))
)
NAMES = st.text('abcdefgh_é\n"\\', min_size=1, max_size=4)


@given(
    st.dictionaries(
        NAMES, st.one_of(VALUES, st.lists(VALUES, max_size=3), st.dictionaries(NAMES, VALUES, max_size=40)), max_size=60
    )
)
def test_a_plain_implementation_of_the_page_agrees(table: dict[str, Any]) -> None:
    assert fingerprint_of(table, SECRETS) == f"sha256:{digest(table).hex()}"


@given(
    st.dictionaries(
        NAMES, st.dictionaries(NAMES, st.one_of(st.integers(), st.dictionaries(NAMES, VALUES, max_size=3)), max_size=40)
    )
)
def test_tables_of_tables_agree_too(table: dict[str, Any]) -> None:
    assert fingerprint_of(table, SECRETS) == f"sha256:{digest(table).hex()}"


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3), max_size=60), st.data())
def test_a_table_has_the_fingerprint_it_has_alone(table: dict[str, Any], data: st.DataObject) -> None:
    whole = Fingerprint.of({"outer": table, "other": 1}, SECRETS)
    for name in data.draw(st.lists(st.sampled_from(sorted(table)), max_size=3)) if table else []:
        expected = fingerprint_of(table[name], SECRETS) if table[name] else None
        assert whole.under(("outer", name)) == expected


def test_a_table_as_we_write_secrets_and_numbers_is_not_taken_for_one() -> None:
    def of(tree: dict[str, Any]) -> str:
        return fingerprint_of(tree, SECRETS)

    assert of({"a": {"password": {"\u0000secret": True}}}) != of({"a": {"password": "x"}})
    assert of({"a": {"\u0000number": "inf"}}) != of({"a": float("inf")})
    assert of({"a": [{"\u0000number": "inf"}]}) != of({"a": [float("inf")]})
    assert of({"a": {"\u0000x": 1}}) != of({"a": {"\u0000\u0000x": 1}})


@given(st.dictionaries(NAMES, VALUES, max_size=80), st.randoms())
def test_order_does_not_count(table: dict[str, Any], chance: Any) -> None:
    shuffled = list(table.items())
    chance.shuffle(shuffled)
    assert fingerprint_of(dict(shuffled), SECRETS) == fingerprint_of(table, SECRETS)


def test_integral_numbers_count_by_value_at_any_size_and_no_further() -> None:
    def of(text: str) -> str:
        return fingerprint_of({"n": json.loads(text, parse_float=number)}, SECRETS)

    assert of("1e16") == of("10000000000000000") == of("10000000000000000.0")
    assert of("10000000000000001.0") == of("10000000000000001") != of("1e16")


def test_a_literal_secret_does_not_show_in_the_fingerprint() -> None:
    assert fingerprint_of({"password": "a"}, SECRETS) == fingerprint_of({"password": "b"}, SECRETS)
    assert fingerprint_of({"credentials": {"x": "a"}}, SECRETS) == fingerprint_of({"credentials": {"x": "b"}}, SECRETS)
    assert fingerprint_of({"user": "a"}, SECRETS) != fingerprint_of({"user": "b"}, SECRETS)


@pytest.mark.parametrize("within", ["db", "credentials"])
def test_a_secret_in_a_small_table_or_a_list_of_tables_does_not_show_either(within: str) -> None:
    def of(value: str) -> str:
        return fingerprint_of({within: {"a": 1, "password": value}, "many": [{"token": value, "n": 1}]}, SECRETS)

    assert of("a") == of("b")
    assert fingerprint_of({"many": [{"n": 1}]}, SECRETS) != fingerprint_of({"many": [{"n": 2}]}, SECRETS)


CHANGED = st.one_of(
    VALUES,
    st.lists(VALUES, max_size=2),
    st.dictionaries(st.sampled_from(["a", "b", "token", "\0c"]), VALUES, max_size=3),
)
KEYS = st.sampled_from(["s", "t", "\0u", "password", "credentials", *(f"g{number}" for number in range(40))])


@given(
    st.dictionaries(KEYS, CHANGED, max_size=45),
    st.lists(st.tuples(KEYS, st.one_of(st.just(ABSENT), CHANGED)), min_size=1, max_size=20),
    st.booleans(),
)
def test_an_update_gives_what_counting_from_scratch_gives(
    table: dict[str, Any], changes: list[tuple[str, Any]], deep: bool
) -> None:
    tree: Any = {"top": table, "other": {"x": 1}} if deep else table
    found = Fingerprint.of(tree, SECRETS)
    for name, value in changes:
        path = ("top", name) if deep else (name,)
        tree = remove(tree, path) if value is ABSENT else put(tree, path, value)
        found = found.update(tree, [path])
        assert str(found) == fingerprint_of(tree, SECRETS)


@pytest.mark.parametrize("neighbours", [0, 40])
def test_a_secret_that_takes_the_place_of_a_large_table_does_not_show(neighbours: int) -> None:
    others = {f"k{number}": number for number in range(neighbours)}
    found = Fingerprint.of({"password": {f"k{number}": number for number in range(40)}, **others}, SECRETS)
    tree = {"password": "hunter2", **others}
    assert str(found.update(tree, [("password",)])) == fingerprint_of(tree, SECRETS)


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        ({"a": [{"t": {"x": 1}}], "t": {"x": 1}}, "t", {"x": 2}),
        ({"z": [{"t": 1}], "t": 1}, "t", 2),
        ({"a": {"t": 1}, "t": 1}, "t", 2),
        ({"a": ["b", 1, 2, ":5"], ",1,2,": 5}, ",1,2,", 6),
        ({"a": 'x"t":1', "t": 1}, "t", 2),
        ({"9": {"z": "b"}, ":": 1, "},": ":1,"}, "},", "x"),  # twice, and the two share a quote
        ({"a": 1, "t": "x"}, "t", "\0"),
        ({"a": 1, "t": "\\u0000"}, "t", 1),
        ({"\0t": 1, "t": 1}, "\0t", 2.0),
        ({"token": "s", "t": 1.0}, "t", 1.5),
    ],
)
def test_an_update_is_right_where_the_text_of_an_entry_comes_twice(table: Any, name: str, value: Any) -> None:
    tree = {**table, name: value}
    once = Fingerprint.of(table, SECRETS).update(tree, [(name,)])
    assert str(once) == fingerprint_of(tree, SECRETS)
    assert str(once.update(table, [(name,)])) == fingerprint_of(table, SECRETS)
