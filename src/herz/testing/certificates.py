"""A certificate authority for tests: real certificates in real files, made by the `openssl` command.

Certificates can be made expired or not yet valid, for any hosts, and by another authority, which is what a
client or a listener must be tried with.
"""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from herz.errors import MissingExtra
from herz.tls.material import TlsMaterial

_CONFIGURATION = """\
[ca]
default_ca = this
[this]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
"""


class Authority:
    """Signs certificates; its own is `cert`. All files lie in `folder`, which is made with mode 0700."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        if shutil.which("openssl") is None:
            raise MissingExtra("there is no openssl command", remedy="apt-get install openssl")
        self.folder = folder / name
        self.folder.mkdir(mode=0o700, parents=True)
        (self.folder / "ca.cnf").write_text(_CONFIGURATION, encoding="ascii")
        (self.folder / "index.txt").touch()
        (self.folder / "serial").write_text("1000\n", encoding="ascii")
        self.cert = self.folder / "ca.crt"
        self._openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.crt -days 3650",
            "-subj",
            f"/CN={name}",
        )

    def issue(
        self,
        name: str,
        hosts: Sequence[str] = ("localhost", "127.0.0.1"),
        *,
        begins: datetime | None = None,
        ends: datetime | None = None,
    ) -> TlsMaterial:
        """A certificate for `hosts`, fit for servers and clients, whose common name is `name`; by default for 30 days.

        `begins` and `ends` are UTC. The answer's `ca` is this authority.
        """
        now = datetime.now(UTC)
        names = ",".join(f"{'IP' if _is_ip(host) else 'DNS'}:{host}" for host in hosts)
        extensions = "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n"
        if names:
            extensions += f"subjectAltName={names}\n"
        (self.folder / f"{name}.ext").write_text(extensions, encoding="ascii")
        self._openssl(
            f"req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out {name}.csr",
            "-subj",
            f"/CN={name}",
        )
        self._openssl(
            f"ca -batch -config ca.cnf -notext -cert ca.crt -keyfile ca.key -in {name}.csr -out {name}.crt "
            f"-extfile {name}.ext -startdate {_written(begins or now - timedelta(hours=1))} "
            f"-enddate {_written(ends or now + timedelta(days=30))}"
        )
        key = self.folder / f"{name}.key"
        key.chmod(0o600)
        return TlsMaterial(cert=str(self.folder / f"{name}.crt"), key=str(key), ca=str(self.cert))

    def _openssl(self, arguments: str, *more: str) -> None:
        subprocess.run(  # noqa: S603  names come from tests
            ["openssl", *arguments.split(), *more],  # noqa: S607  the one of the PATH
            cwd=self.folder,
            check=True,
            capture_output=True,
            timeout=60,
        )


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _written(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%d%H%M%SZ}"
