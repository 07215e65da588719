"""The changelog, its fragments and the version belong together."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOWNCRIER = PYPROJECT["tool"]["towncrier"]
FRAGMENTS = sorted(path for path in (ROOT / TOWNCRIER["directory"]).glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_is_named_for_its_kind(fragment: Path):
    kinds = "|".join(kind["directory"] for kind in TOWNCRIER["type"])
    assert re.fullmatch(rf"(\d+|\+[a-z0-9-]+)\.({kinds})\.md", fragment.name), "see changes/README.md"
    assert fragment.read_text(encoding="utf-8").strip()


def test_every_fragment_reaches_the_changelog():
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "0.0.0", "--date", "2000-01-01"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    draft = re.sub(r"\s+", " ", done.stdout)
    for fragment in FRAGMENTS:
        assert " ".join(fragment.read_text(encoding="utf-8").split()) in draft


def test_the_changelog_has_the_place_where_releases_go():
    assert TOWNCRIER["start_string"] in (ROOT / TOWNCRIER["filename"]).read_text(encoding="utf-8")


def test_the_changelog_tells_of_this_version_or_fragments_will():
    released = f"## {PYPROJECT['project']['version']} " in (ROOT / TOWNCRIER["filename"]).read_text(encoding="utf-8")
    assert released or FRAGMENTS
