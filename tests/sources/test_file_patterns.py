"""Which files a location means, in which order, and which of them are watched."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from herz.errors import SourceUnavailable, UsageError
from herz.sources.file_patterns import FilePattern, WatchPaths, scan
from herz.sources.files import FileSource


@pytest.fixture
def tree(tmp_path) -> Path:
    for name in (
        "application.yml",
        "application-prod.yml",
        "application-test.yml",
        "config/a.yml",
        "config/b.json",
        "config/b-prod.json",
        "config/b-eu.json",
        "config/notes.txt",
        "config/.hidden.yml",
        "config/.env",
        "config/a.yml~",
        "config/inner/c.toml",
        "config/inner/deep/d.properties",
        "config/.git/e.yml",
        "..data/f.yml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}" if name.endswith("json") else "")
    return tmp_path


def found(tree: Path, spec: str | Path, *profiles: str, bases: tuple[str, ...] = ()) -> list[str]:
    known = ("yml", "json", "toml", "properties", "env")
    pattern = FilePattern.parse(spec, base_folders=bases, cwd=str(tree))
    result = scan([pattern], profiles=profiles, known=lambda name: name.rpartition(".")[2] in known)
    return [os.path.relpath(member.path, tree) for member in result.members]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("application.yml", ["application.yml"]),
        ("config", ["config/.env", "config/a.yml", "config/b.json"]),
        ("config/", ["config/.env", "config/a.yml", "config/b.json"]),
        ("config/*.yml", ["config/a.yml"]),
        ("config/?.*", ["config/a.yml", "config/b.json"]),
        ("config/**/*.toml", ["config/inner/c.toml"]),
        ("*/*.yml", ["config/a.yml"]),
        ("conf[a-z]g/inner/*", ["config/inner/c.toml"]),
        (
            "config/**",
            ["config/.env", "config/a.yml", "config/b.json", "config/inner/c.toml", "config/inner/deep/d.properties"],
        ),
        ("classpath:/config/inner/", ["config/inner/c.toml"]),
        ("classpath:config/inner/**", ["config/inner/c.toml", "config/inner/deep/d.properties"]),
    ],
)
def test_a_location_means_these_files(tree, spec, expected) -> None:
    assert found(tree, spec) == expected


def test_a_file_url_is_absolute(tree) -> None:
    assert found(tree, f"file:{tree}/config/a.yml") == ["config/a.yml"]
    assert found(tree, f"file://{tree}/config/**/c.toml") == ["config/inner/c.toml"]
    with pytest.raises(UsageError, match="names no host"):
        found(tree, "file://server/config")


def test_variants_of_active_profiles_come_last_in_the_order_of_the_profiles(tree) -> None:
    assert found(tree, "config/", "prod", "eu")[2:] == ["config/b.json", "config/b-prod.json", "config/b-eu.json"]
    assert found(tree, "config/", "eu", "prod")[2:] == ["config/b.json", "config/b-eu.json", "config/b-prod.json"]
    assert found(tree, "application.yml", "prod", "none") == ["application.yml", "application-prod.yml"]


async def test_variants_of_other_profiles_are_named_as_left_out(tree) -> None:
    source = FileSource(f"{tree}/*.yml", profiles=("prod",))
    document = await source.read()
    assert [os.path.basename(part.origin.name) for part in document.parts] == [
        "application.yml",
        "application-prod.yml",
    ]
    assert [os.path.basename(path) for path in source.inactive()] == ["application-test.yml"]


def test_a_name_with_brackets_is_that_file_when_it_exists(tree) -> None:
    (tree / "a[1].yml").write_text("")
    assert found(tree, "a[1].yml") == ["a[1].yml"]
    assert found(tree, Path("a[1].yml")) == ["a[1].yml"]


def test_a_link_back_to_its_folder_ends_the_search(tree) -> None:
    (tree / "config" / "again").symlink_to(tree / "config")
    assert len(found(tree, "config/**")) == 5


def test_classpath_finds_the_first_base_folder_then_an_importable_package(tree, tmp_path_factory, monkeypatch) -> None:
    other = tmp_path_factory.mktemp("other")
    package = other / "herz_sample_package"
    (package / "defaults").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "defaults" / "x.yml").write_text("")
    monkeypatch.syspath_prepend(other)
    pattern = FilePattern.parse("classpath:/herz_sample_package/defaults/", base_folders=(str(tree),))
    result = scan([pattern], profiles=(), known=lambda name: True)
    assert [Path(member.path) for member in result.members] == [package / "defaults" / "x.yml"]
    assert "herz_sample_package" not in sys.modules
    assert found(tree, "classpath:/application.yml", bases=(str(other), str(tree))) == ["application.yml"]


@pytest.mark.parametrize(
    ("entry", "path", "covered"),
    [
        ("classpath:/config/", "config/a.yml", True),
        ("classpath:/config/", "config/inner/c.toml", False),
        ("classpath:/config/**", "config/inner/deep/d.properties", True),
        ("classpath:/config", "config/a.yml", True),
        ("classpath:/application.yml", "application.yml", True),
        ("classpath:/application.yml", "application-prod.yml", False),
        ("config/*.yml", "config/a.yml", True),
        ("config/*.yml", "config/b.json", False),
        ("classpath:/", "application.yml", True),
        ("classpath:/", "config/a.yml", False),
    ],
)
def test_an_entry_of_the_watched_paths_covers(tree, entry, path, covered) -> None:
    assert WatchPaths(paths=[entry], base_folders=[tree], cwd=str(tree)).covers(path) is covered


@pytest.mark.parametrize("name", ["application.yml", "config/a.yml", "config/inner/deep/d.properties", "/etc/x/y.yml"])
def test_the_entry_to_add_covers_the_file(tree, name) -> None:
    paths = WatchPaths(paths=[], base_folders=[tree], cwd=str(tree))
    assert not paths.covers(name)
    entry = paths.entry_for(name)
    assert WatchPaths(paths=[entry], base_folders=[tree], cwd=str(tree)).covers(name)


def test_without_paths_everything_is_watched_unless_it_is_off(tree) -> None:
    assert WatchPaths().covers("/anything")
    assert not WatchPaths(enabled=False).covers("/anything")
    assert not WatchPaths(enabled=False, paths=["/anything"]).covers("/anything")


@pytest.mark.parametrize("spec", ["none.yml", "none/", "config/*.none", "classpath:/none/**"])
async def test_a_location_that_leads_nowhere_is_an_error_unless_optional(tree, spec, monkeypatch) -> None:
    monkeypatch.chdir(tree)
    with pytest.raises(SourceUnavailable, match="mark the source as optional"):
        await FileSource(spec).read()
    assert (await FileSource(spec, optional=True).read()).parts == ()


async def test_a_place_is_named_as_a_user_would_say_it(tree, monkeypatch) -> None:
    monkeypatch.chdir(tree)
    (tree / "application.yml").write_text("a: 1\nb:\n  c: 2\n")
    (part,) = (await FileSource("application.yml").read()).parts
    assert part.origin.name == "application.yml"
    assert part.locate("b.c") == "application.yml:3"
