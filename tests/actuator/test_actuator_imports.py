from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src"
FRAMEWORKS = {"django", "fastapi", "flask", "starlette", "uvicorn", "werkzeug", "pydantic", "httpx"}


@pytest.mark.parametrize("module", ["asgi", "wsgi", "pinning", "endpoints"])
def test_the_actuator_imports_no_framework(module):
    program = f"import herz.actuator.{module}, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(SOURCES)}, capture_output=True, check=True, timeout=30
    )
    assert {name.partition(".")[0] for name in json.loads(done.stdout)} & FRAMEWORKS == set()


def test_importing_herz_does_not_import_the_actuator():
    program = "import herz, sys; print([name for name in sys.modules if name.startswith('herz.actuator')])"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(SOURCES)}, capture_output=True, check=True, timeout=30
    )
    assert done.stdout.strip() == b"[]"
