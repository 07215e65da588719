from __future__ import annotations

import copy
import json
import pickle

import msgspec
import orjson
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.model.secret import MASK, Secret, SecretKeys

PLAIN = "hunter2-geheim"


PRINTED = [
    repr,
    str,
    ascii,
    lambda one: f"{one}",
    lambda one: f"{one:>20}",
    lambda one: f"{one!r}",
    lambda one: "%s" % one,  # noqa: UP031
    lambda one: repr([one]),
    lambda one: repr({"a": one}),
]


@pytest.mark.parametrize("shown", PRINTED)
def test_no_way_of_printing_shows_a_secret(shown: object) -> None:
    assert callable(shown)
    assert PLAIN not in shown(Secret(PLAIN))


@pytest.mark.parametrize(
    "encode", [json.dumps, orjson.dumps, msgspec.json.encode, msgspec.msgpack.encode, pickle.dumps]
)
def test_no_encoder_takes_a_secret(encode: object) -> None:
    assert callable(encode)
    with pytest.raises(TypeError):
        encode({"a": Secret(PLAIN)})


def test_a_secret_is_not_copied_out_either() -> None:
    with pytest.raises(TypeError):
        copy.deepcopy(Secret(PLAIN))


def test_pydantic_takes_a_secret_and_dumps_its_mask() -> None:
    class Model(pydantic.BaseModel):
        key: Secret

    model = Model.model_validate({"key": PLAIN})
    assert model.key.reveal() == PLAIN
    assert model.model_dump_json() == json.dumps({"key": MASK}, ensure_ascii=False, separators=(",", ":"))
    assert PLAIN not in repr(model)


@given(st.text(), st.text())
def test_secrets_are_equal_when_their_texts_are(one: str, other: str) -> None:
    assert (Secret(one) == Secret(other)) is (one == other)
    assert hash(Secret(one)) == hash(Secret(one))
    assert Secret(Secret(one)) == Secret(one)
    assert Secret(one) != one
    assert bool(Secret(one)) is bool(one)


def test_a_secret_with_lone_surrogates_can_be_compared() -> None:
    assert Secret("\ud800") == Secret("\ud800")


NAMES = """
    password db-password DB_PASSWORD dbPassword DBPASSWORD dbpassword passwd passphrase secret clientSecret
    token access-token accessToken api-key apiKey APIKEY api_key private-key secretKey credentials dsn pwd
"""


@pytest.mark.parametrize("segment", NAMES.split())
def test_a_key_that_ends_like_a_secret_is_one(segment: str) -> None:
    assert SecretKeys().holds(("app", segment))


@pytest.mark.parametrize(
    "segment", ["token-ttl", "max-tokens", "tokens", "password-policy", "secretary", "key", "keys", "monkey", "sandsn"]
)
def test_a_key_that_only_contains_such_a_word_is_none(segment: str) -> None:
    assert not SecretKeys().holds(("app", segment))


def test_everything_under_secrets_or_credentials_is_secret() -> None:
    keys = SecretKeys()
    assert keys.holds(("app", "Secrets", "a", "b"))
    assert keys.holds(("credentials", "user"))
    assert not keys.holds(("app", "user"))
    assert not keys.holds(())


@pytest.mark.parametrize("leaf", ["secrets", "Secrets", "SECRETS", "seCrets", "credentials", "crEdentials"])
def test_a_leaf_that_is_called_secrets_or_credentials_is_secret_itself(leaf: str) -> None:
    keys = SecretKeys()
    assert keys.holds(("x", leaf))
    assert keys.hidden(("x", leaf), ["a", "b"]) == [Secret("a"), Secret("b")]
    assert keys.hidden(("list",), [{leaf: "a"}]) == [{leaf: Secret("a")}]
    assert keys.among(["name", leaf, "other"])


@pytest.mark.parametrize("segment", ["imagePullSecrets", "max-secrets", "secrets-dir"])
def test_a_name_that_only_contains_secrets_is_none(segment: str) -> None:
    assert not SecretKeys().names(segment)


_WORDS = st.sampled_from(
    ["secrets", "credentials", "password", "token", "api", "key", "Key", "dsn", "-", "_", "x", "S"]
)


@given(st.lists(st.one_of(st.text(max_size=8), st.lists(_WORDS, max_size=4).map("".join)), max_size=5), st.booleans())
def test_the_quick_test_never_denies_a_secret(segments: list[str], upper: bool) -> None:
    names = [segment.upper() if upper else segment for segment in segments]
    keys = SecretKeys()
    assert keys.among(names) or not any(map(keys.names, names))


def test_further_patterns_are_added_to_the_known_ones() -> None:
    keys = SecretKeys(["^pin$"])
    assert keys.holds(("pin",))
    assert keys.holds(("password",))
    assert not SecretKeys().holds(("pin",))


def test_hidden_wraps_scalars_under_secret_keys_and_leaves_the_rest() -> None:
    keys = SecretKeys()
    assert keys.hidden(("password",), "a") == Secret("a")
    assert keys.hidden(("password",), 12) == Secret("12")
    assert keys.hidden(("password",), None) is None
    assert keys.hidden(("password",), True) is True
    assert keys.hidden(("password",), ["a", ["b"]]) == [Secret("a"), [Secret("b")]]
    assert keys.hidden(("name",), "a") == "a"


def test_hidden_finds_secret_keys_in_tables_in_lists() -> None:
    users = [{"name": "a", "password": "p", "keys": [{"apiKey": "k"}]}]
    assert SecretKeys().hidden(("users",), users) == [
        {"name": "a", "password": Secret("p"), "keys": [{"apiKey": Secret("k")}]}
    ]
    assert SecretKeys().hidden(("secrets", "users"), [{"name": "a"}]) == [{"name": Secret("a")}]
    assert users[0]["password"] == "p"
