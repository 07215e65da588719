"""The demo's configuration files, and the ways in which they are saved: as an editor, git and Kubernetes do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

_APPLICATION: Final = """\
# The shop's configuration.

database:
  host: 127.0.0.1
  port: {port}
  pool-size: {pool_size}

payment:
  timeout: {timeout}
  retries: 3
  fee: 0.3

limits:
  per-second: 5000
  burst: 5000
{management}"""

_TIDIED: Final = """\
# The shop's configuration, tidied up: another order, other spellings, the same meaning.

limits: {{ burst: 5000, per-second: 5000 }}

payment:
  fee: 0.30
  retries: 3
  timeout: 3000ms    # was 3s

database:
  pool-size: {pool_size}
  host: "127.0.0.1"
  port: {port}
{management}"""

_MANAGEMENT: Final = """\

management:
  endpoints:
    web:
      exposure:
        include: [health, info, refresh]
"""

_PRICES: Final = """\
prices:
  edition: {edition}
  book: {book}
"""

_RECEIPTS: Final = """\
receipts:
  edition: {edition}
  greeting: {greeting}
"""


class Files:
    """`application.yml` and `mounted/`, a folder laid out as Kubernetes mounts a ConfigMap."""

    def __init__(self, folder: Path, *, database_port: int) -> None:
        self._application = folder / "application.yml"
        self._mounted = folder / "mounted"
        self._port = database_port
        self._versions = 0

    def lay_out(self) -> None:
        """Write everything as it is at the start."""
        self._mounted.mkdir()
        self.edit()
        self.mount(edition=7)
        for name in ("prices.yml", "receipts.yml"):
            (self._mounted / name).symlink_to(Path("..data") / name)

    def edit(self, *, pool_size: int = 4, timeout: str = "3s") -> None:
        """Save `application.yml` in place, as `echo >` and some editors do."""
        self._application.write_text(self._text(_APPLICATION, pool_size, timeout), encoding="utf-8")

    def tidy(self, *, pool_size: int) -> None:
        """Save `application.yml` with other words for the same."""
        self._application.write_text(self._text(_TIDIED, pool_size, ""), encoding="utf-8")

    def check_out(self) -> None:
        """Put the first `application.yml` back by renaming a new file over it, as git and most editors do."""
        fresh = self._application.with_suffix(".yml.new")
        fresh.write_text(self._text(_APPLICATION, 4, "3s"), encoding="utf-8")
        fresh.replace(self._application)

    def _text(self, template: str, pool_size: int, timeout: str) -> str:
        return template.format(port=self._port, pool_size=pool_size, timeout=timeout, management=_MANAGEMENT)

    def mount(self, *, edition: int) -> None:
        """Replace both mounted files at once, as the kubelet does: a new folder, then the `..data` link turns to it.

        Kubernetes, pkg/volume/util/atomic_writer.go.
        """
        self._versions += 1
        fresh = self._mounted / f"..version_{self._versions}"
        fresh.mkdir()
        book, greeting = ("12.50", "Thank you!") if edition == 7 else ("11.90", "Happy holidays!")
        (fresh / "prices.yml").write_text(_PRICES.format(edition=edition, book=book), encoding="utf-8")
        (fresh / "receipts.yml").write_text(_RECEIPTS.format(edition=edition, greeting=greeting), encoding="utf-8")
        data, turning = self._mounted / "..data", self._mounted / "..data_tmp"
        old = self._mounted / os.readlink(data) if data.is_symlink() else None
        turning.symlink_to(fresh.name)
        turning.replace(data)
        if old is not None:
            shutil.rmtree(old)
