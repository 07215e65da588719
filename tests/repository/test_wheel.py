"""What users install works: the wheel alone, in an environment of its own, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an empty environment that holds the wheel.

    Its dependencies come from the environment of the tests, through a .pth file: the path files of
    that one (the editable install's among them) are not read from there, so `src` stays away.
    """
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    (site,) = home.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def run(installed: Path, program: str, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [installed / program, *arguments],
        cwd=installed,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_says_that_it_is_typed(wheel: Path):
    assert "herz/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_the_wheel_holds_the_package_and_the_licence_and_nothing_else(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"herz"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name]


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path):
    package = ROOT / "src"
    here = {
        str(path.relative_to(package))
        for path in (package / "herz").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_the_wheel_brings_what_the_consoles_pages_load_with_its_licences(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    folder = "herz/server/console/static/vendor/"
    loaded = ["htmx.js", "idiomorph.js", "editor.js", "charts.js", "charts.css", "graph.js", "LICENSES.txt"]
    assert {folder + name for name in loaded} | {f"{folder}{name}.gz" for name in loaded} <= set(names)


@pytest.mark.slow
def test_the_installed_wheel_is_what_gets_imported(installed: Path):
    place = run(installed, "python", "-c", "import herz; print(herz.__file__)").strip()
    assert Path(place).is_relative_to(installed.parent)


def test_the_public_face_imports_without_the_checkout(installed: Path):
    run(installed, "python", "-W", "error", "-c", "from herz import *")


def test_the_command_runs_and_teaches(installed: Path):
    assert "doctor" in run(installed, "herz", "--help")
