"""Command-line arguments as a source."""

from __future__ import annotations

import pytest

from herz.errors import DocumentMalformed, KeyConflict
from herz.sources.arguments import ArgumentSource


async def test_options_with_a_value_and_flags_are_taken_and_the_rest_is_answered() -> None:
    given = ["run", "--herz.service.timeout=5s", "--debug", "-v", "--routes[api.x].path=/a=b", "--", "--not.me=1"]
    source = ArgumentSource(given)
    document = await source.read()
    assert document.tree == {
        "herz": {"service": {"timeout": "5s"}},
        "debug": True,
        "routes": {"api.x": {"path": "/a=b"}},
    }
    assert source.rest == ("run", "-v", "--", "--not.me=1")
    assert document.locate("herz.service.timeout") == "argument:--herz.service.timeout"
    assert source.local


async def test_with_a_prefix_other_options_are_left_to_the_program() -> None:
    source = ArgumentSource(["--herz.a=1", "--verbose", "--herzlich=2"], prefix="herz")
    assert (await source.read()).tree == {"herz": {"a": "1"}}
    assert source.rest == ("--verbose", "--herzlich=2")


async def test_the_last_of_a_repeated_option_wins_in_any_spelling() -> None:
    assert (await ArgumentSource(["--max-retries=1", "--max_retries=2"]).read()).tree == {"max_retries": "2"}


async def test_an_unreadable_key_and_a_conflict_name_the_arguments() -> None:
    with pytest.raises(DocumentMalformed, match=r"--a\.\.b"):
        ArgumentSource(["--a..b=1"])
    with pytest.raises(KeyConflict, match=r"argument:--a.*argument:--a\.b"):
        await ArgumentSource(["--a=1", "--a.b=2"]).read()
