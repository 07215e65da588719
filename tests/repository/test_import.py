"""`import herz` stays light: what it imports is decided by what is in sys.modules, not by a clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src"
VENDORS = {
    "attr",
    "django",
    "etcd3",
    "fastapi",
    "flask",
    "git",
    "grpc",
    "httpx",
    "hvac",
    "kazoo",
    "kubernetes",
    "opentelemetry",
    "pydantic",
    "requests",
    "rich",
    "starlette",
    "uvicorn",
    "watchfiles",
}


def modules_after(statement: str) -> set[str]:
    """The top-level modules loaded once a fresh interpreter has run the statement."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    environment = {"PYTHONPATH": str(SOURCES), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_import_herz_imports_no_vendor_client():
    loaded = modules_after("from herz import *")
    assert {"herz", "asyncio"} <= loaded
    assert loaded & VENDORS == set()


def test_every_public_name_is_there_and_imported_when_it_is_used():
    program = """
import sys, herz
assert "asyncio" not in sys.modules
assert set(herz.__all__) <= set(dir(herz))
for name in herz.__all__:
    getattr(herz, name)
    assert name in vars(herz)
try:
    herz.nothing
except AttributeError as error:
    assert "nothing" in str(error)
else:
    raise AssertionError
"""
    assert "herz" in modules_after(program)


def test_what_reads_sources_is_imported_with_the_first_herz_and_not_before():
    declared = """
from herz import BindingError, Handle, Herz, Precision, RestartOnly, Secret
import sys
assert not {"herz.sources", "herz.formats", "herz.app.runtime"} & set(sys.modules)
"""
    assert modules_after(declared) & {"asyncio", "msgspec"} == set()
    made = "from herz import Herz; Herz({})"
    assert {"asyncio", "msgspec"} <= modules_after(made)


def test_the_probe_sees_a_vendor_that_is_imported():
    assert modules_after("import rich.console") & VENDORS == {"rich"}
