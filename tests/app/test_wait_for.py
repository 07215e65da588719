"""`wait_for` ends when what is waited for is in force, and says why when it is not."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from pydantic import BaseModel

from herz import BindingError, BuildError, Herz, MappingSource, NotRunning, UsageError


class Service(BaseModel):
    n: int = 0
    m: int = 0


def service(*sources: MappingSource) -> Herz:
    herz = Herz(*sources, environment={})
    herz.properties("service")(Service)
    return herz


def test_a_revision_that_is_refused_for_what_is_written_ends_the_wait_at_once_with_the_refusal() -> None:
    source = MappingSource({"service": {"n": 1}}, "memory")
    with service(source) as herz:
        started = time.monotonic()
        with pytest.raises(BindingError, match=r"service\.n: expected .*, got \"x\" \(memory\)"):
            herz.wait_for(source.update({"service.n": "x"}), timeout=30)
        assert time.monotonic() - started < 10
        assert herz.wait_for(source.update({"service.n": 2}), timeout=10)["service.n"] == 2


def test_a_wait_without_timeout_ends_with_the_refusal() -> None:
    source = MappingSource({"service": {"n": 1}}, "memory")
    with service(source) as herz, pytest.raises(BindingError):
        herz.wait_for(source.update({"service.n": "x"}))


def test_a_revision_that_was_refused_before_the_wait_began_is_known() -> None:
    source = MappingSource({"service": {"n": 1}}, "memory")
    with service(source) as herz:
        revision = source.update({"service.n": "x"})
        herz.wait_for(lambda _: herz.freshness == "REFUSED", 10)
        with pytest.raises(BindingError):
            herz.wait_for(revision, timeout=0)


def test_a_later_revision_without_the_refused_key_does_not_make_the_refused_one_true() -> None:
    source = MappingSource({"service": {"n": 1, "m": 1}}, "memory")
    with service(source) as herz:
        refused = source.update({"service.n": "x"})
        later = source.update({"service.m": 2})
        assert herz.wait_for(later, timeout=10)["service.m"] == 2
        with pytest.raises(BindingError):
            herz.wait_for(refused, timeout=10)
        fixed = source.update({"service.n": 3})
        herz.wait_for(fixed, timeout=10)
        assert herz.wait_for(refused, timeout=10)["service.n"] == 3


def test_a_revision_that_cannot_be_built_is_waited_for_while_it_is_tried_again() -> None:
    source = MappingSource({"service": {"n": 1}}, "memory")
    herz, tries = service(source), []

    @herz.refresh_scope(eager=True)
    class Client:
        def __init__(self, config: Service) -> None:
            tries.append(config.n)
            if config.n == 2 and tries.count(2) < 2:
                raise ConnectionError("not yet")

    with herz:
        assert herz.wait_for(source.update({"service.n": 2}), timeout=30)["service.n"] == 2
        assert tries == [1, 2, 2]


def test_a_wait_that_times_out_names_the_refusal_and_chains_it() -> None:
    source = MappingSource({"service": {"n": 1}}, "memory")
    herz = service(source)

    @herz.refresh_scope(eager=True)
    class Client:
        def __init__(self, config: Service) -> None:
            if config.n == 2:
                raise ConnectionError("no route")

    with herz:
        revision = source.update({"service.n": 2})
        herz.wait_for(lambda _: herz.freshness == "REFUSED", 10)
        with pytest.raises(TimeoutError, match=rf"memory: revision {revision} was refused: .*no route") as caught:
            herz.wait_for(revision, timeout=0)
        assert isinstance(caught.value.__cause__, BuildError)


def test_a_predicate_that_times_out_names_the_refusal_that_stands() -> None:
    source = MappingSource({"service": {"n": 1}}, "memory")
    with service(source) as herz:
        source.update({"service.n": "x"})
        herz.wait_for(lambda _: herz.freshness == "REFUSED", 10)
        with pytest.raises(TimeoutError, match=r"was refused: service\.n: expected") as caught:
            herz.wait_for(lambda snapshot: snapshot["service.n"] == "x", timeout=0)
        assert isinstance(caught.value.__cause__, BindingError)


def test_a_wait_for_what_nobody_wrote_says_what_is_in_force_and_that_it_is_frozen() -> None:
    source = MappingSource({"service": {"n": 1}}, "memory")
    with service(source) as herz:
        with pytest.raises(TimeoutError, match=r"^not in force after 0 s; <Snapshot[^;]*> is$"):
            herz.wait_for(source.document.revision + 1, timeout=0)
        herz.freeze()
        with pytest.raises(TimeoutError, match="the configuration is frozen"):
            herz.wait_for(source.update({"service.n": 2}), timeout=0.05)


def test_a_source_must_be_named_where_there_are_several_and_exist() -> None:
    one, other = MappingSource({"a": 1}, "one"), MappingSource({"b": 1}, "other")
    with service(one, other) as herz:
        with pytest.raises(UsageError, match="which source's revision"):
            herz.wait_for(1, timeout=0)
        with pytest.raises(UsageError, match="no source is called 'third'; pass source=, one of one, other"):
            herz.wait_for(1, timeout=0, source="third")
        assert herz.wait_for(other.update({"b": 2}), timeout=10, source="other")["b"] == 2


def test_a_file_that_is_malformed_ends_the_wait_for_its_revision(tmp_path: Path) -> None:
    path = tmp_path / "app.yml"
    path.write_text("service:\n  n: 1\n")
    herz = Herz(path, environment={})
    with herz:
        herz.wait_for(lambda _: herz.state == "WATCHING", 10)
        revision = herz.snapshot.revisions[herz.health().sources[0].name]
        path.write_text("service: [\n")
        with pytest.raises(Exception, match=r"app\.yml:"):
            herz.wait_for(revision + 1, timeout=10)


def test_a_stop_ends_every_wait() -> None:
    herz, ended = service(MappingSource({"a": 1})), []
    herz.start()

    def waits() -> None:
        try:
            herz.wait_for(lambda _: False)
        except NotRunning as error:
            ended.append(error)

    waiter = threading.Thread(target=waits)
    waiter.start()
    herz.stop()
    waiter.join(10)
    assert len(ended) == 1
