"""What nobody foresaw is a refusal like any other: the updater lives, the last good configuration serves."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from herz import BuildError, Herz, MappingSource, Rejected
from herz.errors import SourceUnavailable
from herz.model.document import Batch, Document, Event, Progress, Revision
from herz.sources.base import Failed

LIMIT_S = 10


class Told(MappingSource):
    """A mapping that can be made to hand its followers any item, whatever it is."""

    def __init__(self, mapping: dict[str, Any], name: str = "told") -> None:
        super().__init__(mapping, name)
        self.streams: list[Any] = []

    @asynccontextmanager
    async def follow(self, after: Revision) -> AsyncIterator[Any]:
        async with super().follow(after) as stream:
            self.streams.append(stream)
            yield stream

    def hand(self, *items: Any) -> None:
        self.streams[-1].deliver(items)


def watching(herz: Herz) -> None:
    herz.wait_for(lambda _: herz.state == "WATCHING", LIMIT_S)


def test_a_validator_that_raises_anything_refuses_the_change_and_takes_the_next_one() -> None:
    class Service(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def _checked(cls, value: int) -> int:
            if value == 2:
                raise RuntimeError("not two")
            return value

    source = MappingSource({"service": {"n": 1}}, "memory")
    herz = Herz(source, environment={})
    herz.properties("service")(Service)
    with herz:
        watching(herz)
        source.update({"service.n": 2})
        herz.wait_for(lambda _: herz.health().status == "DOWN", LIMIT_S)
        assert herz.get(Service).n == 1
        source.update({"service.n": 3})
        herz.wait_for(lambda snapshot: snapshot["service.n"] == 3, LIMIT_S)
        assert herz.health().status == "UP"


def test_a_batch_that_cannot_be_merged_is_refused_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    refused: list[Rejected] = []
    source = Told({"a": 1})
    other = MappingSource({"b": 1}, "other")
    herz = Herz(source, other, environment={})
    herz.on_rejected(refused.append)
    with herz, caplog.at_level(logging.ERROR, "herz"):
        watching(herz)
        document = source.document
        tree = {**document.tree, "a": 2}
        events = (Event(("a",), 1, 2),)
        whole = Document(document.origin, document.revision + 1, tree)
        source.hand(Batch(document.revision + 1, events, whole, part=7))  # there is no such part
        herz.wait_for(lambda _: herz.health().status == "DOWN", LIMIT_S)
        assert "internal error: IndexError" in str(herz.health().sources[0].error)
        other.update({"b": 2})
        herz.wait_for(lambda snapshot: snapshot["b"] == 2, LIMIT_S)
        herz.wait_for(lambda snapshot: snapshot["a"] == 2, LIMIT_S)  # the retry takes the document as a whole
        assert herz.health().status == "UP"
    assert isinstance(refused[0].error, BuildError)
    assert any(record.exc_info and "internal error" in record.getMessage() for record in caplog.records)


class Speechless(SourceUnavailable):
    """An error that cannot even be printed."""

    def __init__(self) -> None:
        super().__init__("no words")

    def __str__(self) -> str:
        raise ValueError("no words")


def test_an_error_that_cannot_be_printed_does_not_end_the_updates() -> None:
    source = Told({"a": 1})
    with Herz(source, environment={}) as herz:
        watching(herz)
        revision = source.document.revision
        source.hand(Failed(revision, Speechless(), "a"), Failed(revision, Speechless(), "a"))
        herz.wait_for(lambda _: herz.runtime.updater.rejected >= 1 and herz.health().status == "DOWN", LIMIT_S)
        assert "internal error: ValueError" in str(herz.health().sources[0].error)
        source.hand(Progress(revision))
        herz.wait_for(lambda _: herz.health().status == "UP", LIMIT_S)
        source.update({"a": 2})
        herz.wait_for(lambda snapshot: snapshot["a"] == 2, LIMIT_S)


def test_what_is_no_item_does_not_end_the_updates() -> None:
    source = Told({"a": 1})
    with Herz(source, environment={}) as herz:
        watching(herz)
        source.hand(object())
        herz.wait_for(lambda _: herz.health().status == "DOWN", LIMIT_S)
        source.update({"a": 2})
        herz.wait_for(lambda snapshot: snapshot["a"] == 2, LIMIT_S)
