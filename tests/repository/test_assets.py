"""What the console's pages load from others: pinned, licensed, and complete without any other host."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRONTEND = ROOT / "frontend"
VENDOR = ROOT / "src" / "herz" / "server" / "console" / "static" / "vendor"
BUNDLES = ("htmx.js", "idiomorph.js", "editor.js", "charts.js", "charts.css", "graph.js")
LOCK = json.loads((FRONTEND / "package-lock.json").read_bytes())
LOCKED = {path.rpartition("node_modules/")[2]: entry for path, entry in LOCK["packages"].items() if path}


def licensed() -> dict[str, str]:
    """The version of each package that LICENSES.txt names, by its name."""
    text = (VENDOR / "LICENSES.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^=+\n(\S+) (\S+) \(.+\)\n=+$", text, re.MULTILINE))


def test_the_built_files_follow_from_the_sources_as_they_are():
    done = subprocess.run([sys.executable, ROOT / "tools" / "assets.py", "--check"])
    assert done.returncode == 0, "run `make assets`"


def test_every_package_is_pinned_to_one_version():
    package = json.loads((FRONTEND / "package.json").read_bytes())
    pinned = package["dependencies"] | package["devDependencies"]
    assert [name for name, version in pinned.items() if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []


@pytest.mark.parametrize("name", sorted(LOCKED))
def test_a_locked_package_is_known_by_its_content_and_from_no_host(name: str):
    assert LOCKED[name]["integrity"].startswith("sha512-")
    assert "resolved" not in LOCKED[name]


def test_every_package_in_the_bundles_is_named_with_its_version():
    brought = {name: entry["version"] for name, entry in LOCKED.items() if not entry.get("dev")}
    builders = {name for name in brought if name == "esbuild" or name.startswith("@esbuild/")}
    unused = {"@codemirror/streamparser"}  # languages of an older kind: nothing of it is left in a bundle
    assert licensed() == {name: version for name, version in brought.items() if name not in builders | unused}


def test_every_named_package_stands_with_its_licence():
    sections = re.split(r"^=+\n.+\n=+$", (VENDOR / "LICENSES.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(sections) == len(licensed())
    assert all(re.search(r"Permission (is hereby granted|to use, copy, modify)", section) for section in sections)


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_asks_for_nothing_else(name: str):
    text = (VENDOR / name).read_text(encoding="utf-8")
    # A namespace is a name that looks like an address.
    assert set(re.findall(r"\w+://[^\s\"'`<>)]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xhtml",
    }
    assert "sourceMappingURL" not in text
    assert re.findall(r"url\((?!['\"]?data:)[^)]*", text) == []
    assert re.findall(r"\b(?:from|import)\s*\(?\s*[\"'][\w@:./-]+[\"']", text) == []


@pytest.mark.parametrize("name", [*BUNDLES, "LICENSES.txt"])
def test_a_file_lies_beside_its_compressed_self(name: str):
    packed = (VENDOR / f"{name}.gz").read_bytes()
    assert gzip.decompress(packed) == (VENDOR / name).read_bytes()
    assert packed[4:8] == bytes(4), "a time in it would make every build another"


def test_what_every_page_loads_is_small():
    assert sum((VENDOR / f"{name}.gz").stat().st_size for name in ("htmx.js", "idiomorph.js")) < 30 * 1024


def exported(bundle: str) -> set[str]:
    """The names that a module of the bundles gives."""
    named = re.findall(r"export\s*\{([^}]*)\}", (VENDOR / bundle).read_text(encoding="utf-8"))
    return {name.split(" as ")[-1].strip() for names in named for name in names.split(",")}


def test_the_consoles_modules_ask_the_bundles_only_for_names_that_they_give():
    missing = []
    for module in sorted((VENDOR.parent / "js").glob("*.js")):
        text = module.read_text(encoding="utf-8")
        for names, bundle in re.findall(r"import\s*\{([^}]*)\}\s*from\s*\"\.\./vendor/(\w+\.js)\"", text):
            asked = {name.split(" as ")[0].strip() for name in names.split(",") if name.strip()}
            missing += [f"{module.name}: {bundle} gives no {name}" for name in sorted(asked - exported(bundle))]
    assert missing == []


@pytest.mark.parametrize("bundle", ["charts.js", "graph.js"])
def test_the_bundle_of_one_library_gives_it_as_its_default(bundle: str):
    assert exported(bundle) == {"default"}
