"""Names and values: what may be registered, and what is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from herz.discovery.instance import Instance, checked, decoded, encoded, instance_key, service_prefix
from herz.errors import DocumentMalformed, UsageError
from herz.store.base import Entry

NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)


@given(
    NAME,
    NAME,
    TEXT.filter(lambda text: "://" not in text),
    st.floats(0, 1e6),
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]))
    ),
)
def test_what_is_registered_is_read_back(service, name, address, weight, metadata) -> None:
    instance = checked(Instance(service, name, address, weight, Map(metadata), "me", 3, 7))
    assert decoded(Entry(instance_key(service, name), encoded(instance), 3, 7, 1)) == instance


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/a", "a/", "a b", "ä", "a\n", "-a", "a" * 129, "a\x00"]
)
def test_names_that_would_leave_their_place_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not the name of an instance"):
        instance_key("pay", name)
    with pytest.raises(UsageError, match="is not the name of a service"):
        instance_key(name, "i")
    with pytest.raises(UsageError):
        service_prefix(name)


@pytest.mark.parametrize("address", ["", "a b", "a\nb", "x" * 1025, "http://ada:geheim@host:1/"])
def test_addresses_that_cannot_be_served_are_refused_without_being_repeated(address: str) -> None:
    with pytest.raises(UsageError, match="address") as caught:
        checked(Instance("pay", "i", address))
    assert "geheim" not in str(caught.value)


def test_a_service_is_not_the_prefix_of_another() -> None:
    assert not instance_key("pay2", "i").startswith(service_prefix("pay"))


@given(st.binary(max_size=60), st.sampled_from(["pay/i", "pay", "pay/", "/i", "pay/i/j", "", "pay/..", "pay/ä"]))
def test_whatever_is_found_is_an_instance_or_malformed(value: bytes, path: str) -> None:
    entry = Entry(f"/herz/services/{path}", value, 1, 1, 1)
    try:
        said = str(decoded(entry))
    except DocumentMalformed as error:
        said = str(error.where)
    assert said.startswith(("Instance(service='pay', name='i'", f"/herz/services/{path}@1"))


def test_fields_of_later_versions_are_left_alone() -> None:
    entry = Entry("/herz/services/pay/i", b'{"address": "a:1", "zone_hint": {"x": [1]}}', 1, 1, 1)
    assert decoded(entry) == Instance("pay", "i", "a:1", joined=1, revision=1)
