"""What the client costs whoever does not use it: no vendor's library is loaded before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from herz.client import ControlPlane
from herz.errors import MissingExtra


@pytest.mark.parametrize(
    "program",
    [
        "import herz.client; herz.client.ControlPlane('http://127.0.0.1:1')",
        "from herz.cli.main import parser; parser()",
    ],
)
def test_aiohttp_is_not_loaded_before_something_is_asked(program):
    said = "import sys; print([name for name in ('aiohttp', 'litestar', 'uvicorn', 'rich') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{program}\n{said}"], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("[]\n", "")


async def test_where_it_is_not_installed_the_line_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(MissingExtra, match=r"pip install 'herz\[client\]'"):
        await ControlPlane("http://127.0.0.1:1").__aenter__()
