"""What the examples' tests share: a copy of the example's folder to work in, and its program."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder that the test lies in, as the working directory."""
    copy = tmp_path / request.path.parent.name
    shutil.copytree(request.path.parent, copy, ignore=shutil.ignore_patterns("test_*", "__pycache__", "*.db*"))
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def app(folder: Path) -> Iterator[ModuleType]:
    """The example's `app.py`, imported anew."""
    name = f"{folder.name}_app"
    spec = importlib.util.spec_from_file_location(name, folder / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are looked up there
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]
