"""What `refresh` raises is what its own look met, never a failure that is over by then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from herz import BindingError, Herz, MappingSource
from herz.errors import DocumentMalformed
from herz.model.origin import Origin
from herz.sources.held import HeldSource


class Noted(HeldSource):
    """A source whose content can be spoiled and mended."""

    def __init__(self) -> None:
        super().__init__(Origin("noted", "memory"))
        self.spoiled = ""
        self.look()

    def content(self) -> tuple[Any, None]:
        if self.spoiled:
            raise DocumentMalformed(self.spoiled, where="noted:1")
        return {"a": 1}, None


def test_a_refresh_after_the_content_was_mended_raises_nothing() -> None:
    source = Noted()
    with Herz(source, environment={}) as herz:
        for _ in range(50):
            source.spoiled = "spoiled"
            with pytest.raises(DocumentMalformed, match="spoiled"):
                herz.refresh()
            source.spoiled = ""
            assert herz.refresh() == []
            assert herz.freshness == "CURRENT"


def unwatched(folder: Path, **files: str) -> Herz:
    for name, text in files.items():
        (folder / f"{name}.yml").write_text(text)
    return Herz({"herz.config.watch.enabled": False}, folder, environment={})


def test_a_refresh_after_a_file_is_again_as_it_was_raises_nothing(tmp_path: Path) -> None:
    with unwatched(tmp_path, app="a: 1\n") as herz:
        for _ in range(20):
            (tmp_path / "app.yml").write_text("a: [\n")
            with pytest.raises(DocumentMalformed, match=r"app\.yml"):
                herz.refresh()
            (tmp_path / "app.yml").write_text("a: 1\n")
            assert herz.refresh() == []
            assert herz.health().status == "UP"


def test_of_two_broken_files_the_one_that_was_mended_is_not_named_any_more(tmp_path: Path) -> None:
    with unwatched(tmp_path, one="a: 1\n", two="b: 1\n") as herz:
        for mended, broken in [("one", "two"), ("two", "one")]:
            for name in (broken, mended):
                (tmp_path / f"{name}.yml").write_text(f"{name}: [\n")
                with pytest.raises(DocumentMalformed):
                    herz.refresh()
            (tmp_path / f"{mended}.yml").write_text("a: 1\n" if mended == "one" else "b: 1\n")
            with pytest.raises(DocumentMalformed, match=rf"{broken}\.yml"):
                herz.refresh()
            (tmp_path / f"{broken}.yml").write_text("a: 1\n" if broken == "one" else "b: 1\n")
            assert herz.refresh() == []


def test_a_refusal_that_is_raised_again_and_again_does_not_grow() -> None:
    class Service(BaseModel):
        n: int = 0

    source = MappingSource({"service": {"n": 1}})
    herz = Herz(source, environment={})
    herz.properties("service")(Service)
    with herz:
        refused = source.update({"service.n": "x"})
        depths = []
        for _ in range(20):
            with pytest.raises(BindingError) as caught:
                herz.refresh()
            depths.append(len(caught.traceback))
            with pytest.raises(BindingError) as caught:
                herz.wait_for(refused, timeout=10)
            depths.append(len(caught.traceback))
        assert max(depths[2:]) <= max(depths[:2])
