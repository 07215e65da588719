"""Environment variables as a source."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from herz.errors import DocumentMalformed, DuplicateKey, KeyConflict
from herz.model.document import Batch
from herz.sources.base import Failed
from herz.sources.environment import EnvironmentSource


async def read(environ: dict[str, str], prefix: str = "") -> object:
    return (await EnvironmentSource(environ, prefix).read()).tree


async def test_two_underscores_separate_segments_and_other_names_are_left_alone() -> None:
    environ = {"HERZ__SERVICE__MAX_RETRIES": "3", "PATH": "/bin", "__CF_USER_TEXT_ENCODING": "0x1F5", "A_B": "x"}
    assert await read(environ) == {"herz": {"service": {"max_retries": "3"}}}


async def test_with_a_prefix_a_single_segment_is_enough() -> None:
    environ = {"APP_PORT": "1", "APP_DB__POOL": "[2]", "OTHER__X": "3", "APP_": "4"}
    assert await read(environ, "APP_") == {"port": "1", "db": {"pool": "[2]"}}


@pytest.mark.parametrize("name", ["A____B", "A__", "A___", "A__B__"])
async def test_a_name_with_an_empty_segment_is_an_error_that_names_it(name) -> None:
    with pytest.raises(DocumentMalformed, match=rf"{name} does not name a key.*env:{name}"):
        await read({name: "secret"})


async def test_a_name_that_begins_with_the_separator_is_an_error_under_a_prefix() -> None:
    with pytest.raises(DocumentMalformed, match="APP___PORT"):
        await read({"APP___PORT": "1"}, "APP_")


async def test_bytes_that_are_not_utf_8_are_an_error_that_does_not_show_them() -> None:
    with pytest.raises(DocumentMalformed, match="A__B holds bytes that are not UTF-8") as caught:
        await read({"A__B": b"hidden\xff".decode("utf-8", "surrogateescape")})
    assert "hidden" not in str(caught.value)


async def test_a_value_and_a_table_of_one_name_are_a_conflict_that_names_both() -> None:
    for environ in ({"A__B": "1", "A__B__C": "2"}, {"A__B_X": "1", "A__BX__C": "2"}):
        with pytest.raises(KeyConflict) as caught:
            await read(environ)
        assert all(name in str(caught.value) for name in environ)


async def test_two_spellings_of_one_key_are_an_error_that_names_both() -> None:
    for environ in ({"A__B": "1", "a__b": "1"}, {"A__MAX_X": "1", "A__MAXX": "1"}):
        with pytest.raises(DuplicateKey) as caught:
            await read(environ)
        assert all(name in str(caught.value) for name in environ)


async def test_a_value_is_located_by_its_variable() -> None:
    document = await EnvironmentSource({"A__B": "1"}).read()
    assert document.locate("a.b") == "env:A__B"
    assert document.locate("a") == "env:A__B"
    assert document.locate("x") == "environment"


async def test_a_rescan_hands_on_what_differs_and_a_failure_heals() -> None:
    environ = {"A__B": "1"}
    source = EnvironmentSource(environ)
    assert source.local
    document = await source.read()
    async with source.follow(document.revision) as stream, asyncio.timeout(5):
        environ["A__B"] = "2"
        revision = await source.rescan()
        batch: Any = await anext(stream)
        assert isinstance(batch, Batch)
        assert (batch.revision, batch.events) == (revision, ((("a", "b"), "1", "2"),))
        environ["A____B"] = "x"
        await source.rescan()
        assert isinstance(await anext(stream), Failed)
        del environ["A____B"]
        environ["A__B"] = "3"
        await source.rescan()
        healed = await anext(stream)
        assert isinstance(healed, Batch)
        assert healed.events == ((("a", "b"), "2", "3"),)
