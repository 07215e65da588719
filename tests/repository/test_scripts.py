"""The scripts a newcomer and CI start with: they parse, and they tell failure from success."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHELL_TOOLS = sorted(path for path in (ROOT / "tools").iterdir() if path.is_file() and path.suffix != ".py")


def ci_run(tmp_path: Path, *recipe: str) -> subprocess.CompletedProcess[str]:
    """CI's script beside a Makefile whose `test` runs the recipe's lines."""
    (tmp_path / ".ci").mkdir()
    script = shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "Makefile").write_text("test:\n" + "".join(f"\t@{line}\n" for line in recipe))
    environment = os.environ | {"CI": "true"}
    return subprocess.run(["bash", script], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)


@pytest.mark.parametrize("script", SHELL_TOOLS, ids=lambda path: path.name)
def test_a_tool_is_executable_and_parses_as_plain_sh(script: Path):
    assert script.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", script], check=True)


def test_ci_is_executable_bash_that_parses():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


@pytest.mark.parametrize(
    "closing",
    [
        "============ 12 passed in 3.21s ============",
        "====== 12 passed, 1 skipped, 2 deselected in 75.02s (0:01:15) ======",
        "3 passed in 0.01s",
    ],
)
def test_ci_ends_with_pytests_closing_line(tmp_path: Path, closing: str):
    done = ci_run(tmp_path, f"echo '{closing}'", "echo something after it")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == closing


def test_ci_fails_when_a_step_fails_and_still_ends_with_the_closing_line(tmp_path: Path):
    done = ci_run(tmp_path, "echo '=== 1 failed, 2 passed in 0.10s ==='", "exit 1")
    assert done.returncode != 0
    assert done.stdout.splitlines()[-1] == "=== 1 failed, 2 passed in 0.10s ==="


@pytest.mark.parametrize(
    "line", ["all fine", "=== no tests ran in 0.01s ===", "=== 0 passed in 0.01s ===", "2 skipped in 0.01s"]
)
def test_ci_fails_when_no_test_has_passed(tmp_path: Path, line: str):
    done = ci_run(tmp_path, f"echo '{line}'")
    assert done.returncode != 0
    assert "no test has passed" in done.stderr


def test_setup_refuses_an_interpreter_that_is_too_old(tmp_path: Path):
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "setup", tmp_path / "tools" / "setup")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    environment = os.environ | {"PYTHON": "/bin/false"}
    done = subprocess.run([tmp_path / "tools" / "setup"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is not a Python 3.11 or newer" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_servers_script_names_the_packages_that_are_missing(tmp_path: Path):
    script = ROOT / "tools" / "servers"
    done = subprocess.run([script, "--check"], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1
    for package in ("etcd-server", "default-jre-headless", "prometheus", "chromium", "fonts-wqy-microhei"):
        assert package in done.stderr.splitlines()[-1].split()


def test_the_servers_script_wants_only_what_is_named(tmp_path: Path):
    (tmp_path / "chromium").symlink_to("/bin/true")
    script = ROOT / "tools" / "servers"
    done = subprocess.run([script, "--check", "browser"], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "servers: install them: sudo apt-get install fonts-wqy-microhei"
