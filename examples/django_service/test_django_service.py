"""The service in a process of its own, for Django's settings are one for each process."""

from __future__ import annotations

import subprocess
import sys

VISIT = """
from pathlib import Path
from werkzeug.test import Client
import app

client = Client(app.application)
headers = {"Host": "localhost"}
assert client.get("/welcome/Ada", headers=headers).text == "Hello, Ada."
Path("application.yml").write_text("shop: {greeting: Good morning}\\n")
app.herz.wait_for(lambda snapshot: snapshot["shop.greeting"] == "Good morning", 10)
assert client.get("/welcome/Ada", headers=headers).text == "Good morning, Ada."
assert client.get("/actuator/health", headers=headers).json == {"status": "UP"}
app.herz.stop()
print("served")
"""


def test_an_edit_is_served(folder):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", VISIT], cwd=folder, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "served\n"
