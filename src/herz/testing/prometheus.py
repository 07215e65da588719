"""A real Prometheus for tests, on a free loopback port, scraping what it is told to every fraction of a second."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from herz.testing.processes import Port, ServerFailed, ServerProcess, Workspace

START_S: Final = 20.0
"""How long it may take until it answers."""
SCRAPE_S: Final = 0.1
"""How often it scrapes."""


class Prometheus:
    """One server with its own folder; `with` it. `targets` maps what is scraped (`host:port`) to its labels."""

    def __init__(self, targets: Mapping[str, Mapping[str, str]]) -> None:
        self._targets = targets
        self._port, self._workspace = Port(), Workspace("prometheus")
        self.url: Final = f"http://{self._port.address}"
        folder = self._workspace.path
        program = shutil.which("prometheus") or "prometheus"
        arguments = [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={self._port.address}",
            "--log.level=warn",
        ]
        self._process = ServerProcess(arguments, log=folder / "log")

    @staticmethod
    def available() -> bool:
        """Whether the program is installed."""
        return shutil.which("prometheus") is not None

    def __enter__(self) -> Self:
        static = [{"targets": [target], "labels": dict(labels)} for target, labels in self._targets.items()]
        jobs = [{"job_name": "test", "honor_labels": True, "static_configs": static}]
        config = {"global": {"scrape_interval": f"{SCRAPE_S * 1000:.0f}ms", "scrape_timeout": "100ms"}}
        (self._workspace.path / "prometheus.yml").write_text(json.dumps({**config, "scrape_configs": jobs}))  # is YAML
        self._process.start()
        deadline = time.monotonic() + START_S
        while not self._answers():
            if not self._process.running or time.monotonic() > deadline:
                log = (self._workspace.path / "log").read_text(errors="replace")[-2000:]
                self.__exit__(None, None, None)
                raise ServerFailed(f"Prometheus did not start: {log}", remedy="see what it says")
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._port.close()
        self._workspace.close()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1) as reply:  # noqa: S310  our own process
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False
