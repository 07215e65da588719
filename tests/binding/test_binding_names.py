"""Relaxed names, unknown keys, strictness, and where messages say things were written."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.errors import BindingError, ConfigurationError
from herz.live.binding import Binding
from herz.model.key import join, split


@dataclass
class Pool:
    max_size: int = 4


@dataclass
class Service:
    timeout: timedelta = timedelta(seconds=3)
    max_retries: int = 3
    pool: Pool = field(default_factory=Pool)
    pools: dict[str, Pool] = field(default_factory=dict)


@dataclass
class Needy:
    url: str
    pool: NeedyPool
    size: int = 1


@dataclass
class NeedyPool:
    host: str
    port: int = 1


def in_file(path: tuple[str, ...]) -> str:
    return f"app.yml:{join(path)}"


@pytest.mark.parametrize("name", ["max-retries", "max_retries", "maxRetries", "MAXRETRIES", "MAX_RETRIES"])
def test_every_spelling_of_a_name_reaches_its_field(name: str) -> None:
    assert Binding(Service).bind({name: 5}).value.max_retries == 5


@given(st.data())
def test_any_case_and_any_separators_reach_the_field(data: st.DataObject) -> None:
    letters = [letter.upper() if data.draw(st.booleans()) else letter for letter in "maxretries"]
    name = "".join(letter + data.draw(st.sampled_from(["", "", "-", "_"])) for letter in letters)
    assert Binding(Service).bind({name: 5}).value.max_retries == 5


def test_names_of_a_table_with_free_names_are_kept_as_written() -> None:
    assert list(Binding(Service).bind({"pools": {"A-b_C": {"MAXSIZE": 1}}}).value.pools) == ["A-b_C"]


def test_one_key_in_two_spellings_is_refused() -> None:
    with pytest.raises(BindingError, match=r"written twice, in two spellings of max_retries"):
        Binding(Service, "a").bind({"max-retries": 1, "MAX_RETRIES": 2})


def test_an_unknown_key_is_a_warning_with_the_nearest_known_name_and_its_place() -> None:
    bound = Binding(Service, "herz.service").bind(
        {"max-retires": 1, "zzz": {"a": 1}, "pool": {"max-sise": 1}}, place=in_file
    )
    assert bound.unknown == (
        "herz.service.max-retires: unknown key, did you mean 'max_retries'? (app.yml:herz.service.max-retires)",
        "herz.service.zzz: unknown key (app.yml:herz.service.zzz)",
        "herz.service.pool.max-sise: unknown key, did you mean 'max_size'? (app.yml:herz.service.pool.max-sise)",
    )
    assert bound.value == Service()


def test_strict_makes_unknown_keys_an_error() -> None:
    with pytest.raises(BindingError) as caught:
        Binding(Service, "a", strict=True).bind({"max-retires": 1, "pool": {"x": 1}})
    assert caught.value.problems == (
        "a.max-retires: unknown key, did you mean 'max_retries'?",
        "a.pool.x: unknown key",
    )


def test_keys_that_another_model_is_bound_to_are_not_unknown() -> None:
    known = {("a", "cache"), ("a", "deep")}
    bound = Binding(Service, "a").bind(
        {"cache": {"size": 1}, "deep": {"er": {"x": 1}}, "other": 1}, elsewhere=known.__contains__
    )
    assert bound.unknown == ("a.other: unknown key",)


@pytest.mark.parametrize(
    ("key", "read"),
    [
        ("herz", True),
        ("herz.service", True),
        ("HERZ.Service.TIMEOUT", True),
        ("herz.service.timeuot", False),
        ("herz.service.pool", True),
        ("herz.service.pool.max-size", True),
        ("herz.service.pool.max-sise", False),
        ("herz.other", False),
        ("other.timeout", False),
    ],
)
def test_a_binding_reads_its_fields_what_is_below_them_and_what_leads_there(key: str, read: bool) -> None:
    assert Binding(Service, "herz.service").reads(split(key)) is read


def test_a_binding_reads_every_name_of_a_table_with_free_names_and_every_field_of_its_models() -> None:
    @dataclass
    class Tenants:
        by_name: dict[str, Needy] = field(default_factory=dict)
        labels: dict[str, Any] = field(default_factory=dict)

    binding = Binding(Tenants, "t", localns={"Needy": Needy, "Any": Any})
    assert binding.reads(("t", "by-name", "acme", "size"))
    assert not binding.reads(("t", "by-name", "acme", "sise"))
    assert binding.reads(("t", "labels", "any", "thing"))


def test_a_model_at_the_root_is_only_told_of_typing_errors() -> None:
    bound = Binding(Service).bind({"herz": {"config": 1}, "logging": {}, "time-out": 1, "timeuot": 1})
    assert bound.unknown == ("timeuot: unknown key, did you mean 'timeout'?",)


def test_of_very_many_unknown_keys_the_first_are_named_and_the_rest_counted() -> None:
    unknown = Binding(Service, "a").bind({f"key{number}": number for number in range(1000)}).unknown
    assert len(unknown) == 21
    assert unknown[-1] == "a: 980 more unknown keys"


def test_the_place_of_the_first_problem_is_the_place_of_the_error_and_stands_once_in_its_text() -> None:
    with pytest.raises(BindingError) as caught:
        Binding(Service, "a").bind({"timeout": "x", "max-retries": "y"}, place=in_file)
    assert caught.value.where == "app.yml:a.timeout"
    assert str(caught.value).count("app.yml:a.timeout") == 1
    with pytest.raises(BindingError) as caught:
        Binding(Service, "a", strict=True).bind({"zzz": 1}, place=in_file)
    assert caught.value.where == "app.yml:a.zzz"
    with pytest.raises(BindingError) as caught:
        Binding(Needy).bind({})
    assert caught.value.where is None


def test_missing_keys_are_named_with_where_to_add_them() -> None:
    with pytest.raises(BindingError) as caught:
        Binding(Needy, "a.b").bind({"size": 2}, place=in_file)
    assert caught.value.problems == (
        "a.b.url: missing, expected text (app.yml:a.b); add url under a.b",
        "a.b.pool.host: missing, expected text (app.yml:a.b); add a.b.pool.host to the configuration",
    )
    with pytest.raises(BindingError) as caught:
        Binding(Needy, "a.b").bind({}, place=in_file)
    assert caught.value.problems[0] == "a.b.url: missing, expected text; add a.b.url to the configuration"


def test_a_missing_key_that_is_there_misspelled_is_told_as_both() -> None:
    with pytest.raises(BindingError) as caught:
        Binding(Needy, "a").bind({"ulr": "x", "pool": {"host": "h"}})
    assert caught.value.problems == (
        "a.url: missing, expected text; add a.url to the configuration",
        "a.ulr: unknown key, did you mean 'url'?",
    )


def test_every_problem_has_its_own_line_in_one_error() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Binding(Service, "herz.service").bind(
            {"timeout": "abc", "max-retries": True, "pool": {"MAXSIZE": []}}, place=in_file
        )
    assert str(caught.value).splitlines() == [
        'herz.service.timeout: expected a duration, got "abc" (app.yml:herz.service.timeout);'
        " write 3s, 500ms, 1h30m or PT3S",
        "herz.service.max-retries: expected a whole number, got true (app.yml:herz.service.max-retries)",
        "herz.service.pool.MAXSIZE: expected a whole number, got a list (app.yml:herz.service.pool.MAXSIZE)",
    ]


def test_the_environment_variable_that_cannot_be_parsed_is_named() -> None:
    places: dict[tuple[str, ...], str] = {("herz", "service", "MAXRETRIES"): "env:HERZ__SERVICE__MAXRETRIES"}
    with pytest.raises(BindingError) as caught:
        Binding(Service, "herz.service").bind({"MAXRETRIES": "many"}, place=places.__getitem__)
    assert str(caught.value) == (
        'herz.service.MAXRETRIES: expected a whole number, got "many" (env:HERZ__SERVICE__MAXRETRIES)'
    )


def test_an_element_of_a_list_is_placed_where_its_list_was_written() -> None:
    @dataclass
    class Ports:
        ports: list[int]

    with pytest.raises(BindingError, match=r'a\.ports\.1: expected a whole number, got "x" \(app\.yml:a\.ports\)'):
        Binding(Ports, "a").bind({"ports": [1, "x"]}, place=in_file)


def test_the_prefix_may_be_spelled_otherwise_in_the_tree() -> None:
    with pytest.raises(BindingError, match=r"A\.B\.max-retries: .*app\.yml:A\.B\.max-retries"):
        Binding(Service, "a.b").bind({"max-retries": "x"}, place=in_file, at=("A", "B"))


def test_long_values_are_shortened_in_messages() -> None:
    with pytest.raises(BindingError) as caught:
        Binding(Service, "a").bind({"timeout": string.ascii_letters * 10})
    assert len(str(caught.value)) < 200
