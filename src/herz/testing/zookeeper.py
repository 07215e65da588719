"""A real ZooKeeper, one server or an ensemble, that a test may kill, freeze and put back to an older copy.

    with ZookeeperEnsemble(3) as ensemble:
        ensemble.leader().kill()
        ...
        ensemble.start()

The servers are those of Debian's package `zookeeper` (`apt-get install zookeeper`), with a configuration of our own:
data in memory where the machine has /dev/shm, no fsync, ticks of 500 ms. Methods block, and belong to no event loop.
Elections take half a second to two. Nothing survives the test: see `herz.testing.processes`.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from herz.errors import MissingExtra, UsageError
from herz.testing.processes import Port, ServerFailed, ServerProcess, Workspace, server_environment
from herz.tls.material import TlsMaterial

JAR: Final = Path("/usr/share/java/zookeeper.jar")
READY_S: Final = 40.0
"""How long a server may take to serve; it takes 0.8 s on an idle machine."""
POLL_S: Final = 0.02
EXTRA: Final = tuple(
    JAR.with_name(f"{name}.jar")
    for name in (
        "slf4j-simple",  # without it the servers say nothing
        *(f"netty-{part}" for part in ("all", "codec", "resolver", "transport-native-unix-common")),  # for TLS
    )
)
"""Jars that Debian's package brings and that its own class path lacks."""


class ZookeeperServer:
    """One server of a `ZookeeperEnsemble`. It keeps its number, its ports and its data."""

    def __init__(self, ensemble: ZookeeperEnsemble, number: int) -> None:
        self.number = number
        self.folder = ensemble.folder / str(number)
        self.data = self.folder / "data"
        self.client_port, self.secure_port = Port(), Port()
        self.peer_port, self.election_port = Port(), Port()
        self.data.mkdir(parents=True)
        (self.data / "myid").write_text(f"{number}\n")
        self._process = ServerProcess(
            ensemble._command(self),
            log=self.folder / "log",
            environment=server_environment("ZOO", "JAVA", "JVM", "CLASSPATH"),
        )

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`, where clients connect in plain text."""
        return self.client_port.address

    @property
    def running(self) -> bool:
        """Whether its process exists; a paused one does."""
        return self._process.running

    @property
    def mode(self) -> str | None:
        """`standalone`, `leader` or `follower`; None while it does not serve."""
        for line in self.command("srvr").splitlines():
            if line.startswith("Mode: "):
                return line.removeprefix("Mode: ").strip()
        return None

    def command(self, word: str) -> str:
        """What it answers to a four-letter word; nothing when it does not answer."""
        if not self.running or self._process.paused:
            return ""
        answer = b""
        with (
            suppress(OSError),
            socket.create_connection((self.client_port.host, self.client_port.number), 2.0) as asked,
        ):
            asked.sendall(word.encode())
            while part := asked.recv(65536):
                answer += part
        return answer.decode(errors="replace")

    def start(self) -> None:
        """Start it, with the data it had; returns at once: see `ZookeeperEnsemble.wait_ready`."""
        self._process.start()

    def stop(self) -> None:
        """SIGTERM, waited for."""
        self._process.stop()

    def kill(self) -> None:
        """SIGKILL, waited for; the kernel resets its connections."""
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and silent, and new ones are accepted by the kernel alone."""
        self._process.pause()

    def resume(self) -> None:
        """SIGCONT: go on as if nothing had happened."""
        self._process.resume()

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait until it serves. `ServerFailed` when it ends or does not in time, with the end of its log."""
        deadline = time.monotonic() + timeout_s
        while self.mode is None:
            if not self.running:
                raise ServerFailed(f"ZooKeeper server {self.number} has ended{self._process.said()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"ZooKeeper server {self.number} does not serve{self._process.said()}")
            time.sleep(POLL_S)

    def _close(self) -> None:
        self._process.kill()
        for port in (self.client_port, self.secure_port, self.peer_port, self.election_port):
            port.close()


class ZookeeperEnsemble:
    """`size` servers, started together. As a context manager it is closed at the end.

    With `tls` every server listens at its `secure_port` as well, where it asks for a certificate if
    `tls.client_auth`. With `users` it knows these names and passwords for SASL.
    """

    def __init__(self, size: int = 1, *, tls: TlsMaterial | None = None, users: dict[str, str] | None = None) -> None:
        if size not in (1, 3, 5):
            raise UsageError(f"an ensemble of {size}?", remedy="1, 3 or 5 servers")
        if not JAR.exists() or shutil.which("java") is None:
            raise MissingExtra("ZooKeeper is not installed", remedy="apt-get install zookeeper")
        self._workspace = Workspace("zookeeper")
        self._tls, self._users = tls, users
        self.servers: tuple[ZookeeperServer, ...] = ()
        try:
            self._prepare()
            self.servers = tuple(ZookeeperServer(self, number) for number in range(1, size + 1))
            for server in self.servers:
                self._configure(server)
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def folder(self) -> Path:
        """The folder of configuration, data and logs."""
        return self._workspace.path

    @property
    def hosts(self) -> str:
        """All client addresses, as a connection string."""
        return ",".join(server.address for server in self.servers)

    @property
    def secure_hosts(self) -> str:
        """All addresses for TLS."""
        return ",".join(server.secure_port.address for server in self.servers)

    def start(self, *, ready: bool = True) -> None:
        """Start whichever does not run; returns when all serve, at once with `ready=False`."""
        for server in self.servers:
            server.start()
        if ready:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until every running server serves."""
        for server in self.servers:
            if server.running:
                server.wait_ready()

    def leader(self) -> ZookeeperServer:
        """The server that leads now; waits for the election."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            for server in self.servers:
                if server.mode in ("leader", "standalone"):
                    return server
            time.sleep(POLL_S)
        raise ServerFailed(f"no ZooKeeper server leads after {READY_S:g} s")

    def followers(self) -> list[ZookeeperServer]:
        """The servers that follow now."""
        return [server for server in self.servers if server.mode == "follower"]

    def stop(self) -> None:
        """SIGTERM to all, waited for."""
        with ThreadPoolExecutor(len(self.servers)) as pool:
            list(pool.map(ZookeeperServer.stop, self.servers))

    def backup(self) -> Path:
        """Stop all, copy their data, and start them again; the copy, for `restore`."""
        self.stop()
        copy = self.folder / f"backup-{len(list(self.folder.glob('backup-*')))}"
        for server in self.servers:
            shutil.copytree(server.data, copy / str(server.number))
        self.start()
        return copy

    def restore(self, copy: Path) -> None:
        """Stop all, put a `backup` in place of their data, and start them: everything since then is forgotten."""
        self.stop()
        for server in self.servers:
            shutil.rmtree(server.data)
            shutil.copytree(copy / str(server.number), server.data)
        self.start()

    def close(self) -> None:
        """Kill all and remove their folders. Harmless twice."""
        for server in self.servers:
            server._close()
        self._workspace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- configuration ------------------------------------------------------------------------

    def _prepare(self) -> None:
        if self._tls is not None:
            assert self._tls.cert is not None  # noqa: S101  a server's material has a pair
            assert self._tls.key is not None  # noqa: S101
            pair = Path(self._tls.key).read_bytes() + Path(self._tls.cert).read_bytes()
            (self.folder / "server.pem").touch(mode=0o600)
            (self.folder / "server.pem").write_bytes(pair)
        if self._users is not None:
            entries = "\n".join(f'  user_{name}="{password}"' for name, password in self._users.items())
            (self.folder / "jaas.conf").touch(mode=0o600)
            (self.folder / "jaas.conf").write_text(
                f"Server {{\n  org.apache.zookeeper.server.auth.DigestLoginModule required\n{entries};\n}};\n"
            )

    def _command(self, server: ZookeeperServer) -> Sequence[str]:
        options = ["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dzookeeper.forceSync=no"]
        options += [
            "-Dzookeeper.admin.enableServer=false",
            "-Djava.net.preferIPv4Stack=true",
            "-Dzookeeper.jmx.log4j.disable=true",
        ]
        options += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        if self._users is not None:
            options += [
                "-Dzookeeper.authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
                f"-Djava.security.auth.login.config={self.folder / 'jaas.conf'}",
            ]
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        return ["java", *options, "-cp", ":".join(map(str, (JAR, *EXTRA))), main, str(server.folder / "zoo.cfg")]

    def _configure(self, server: ZookeeperServer) -> None:
        lines = [
            "tickTime=500",
            "initLimit=20",
            "syncLimit=6",
            "minSessionTimeout=1000",
            "maxSessionTimeout=20000",
            "maxClientCnxns=0",
            f"dataDir={server.data}",
            f"clientPort={server.client_port.number}",
            "clientPortAddress=127.0.0.1",
            "4lw.commands.whitelist=*",
            "admin.enableServer=false",
            "snapCount=100000",
        ]
        if self._tls is not None:
            lines += [
                "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
                f"secureClientPort={server.secure_port.number}",
                "secureClientPortAddress=127.0.0.1",
                f"ssl.keyStore.location={self.folder / 'server.pem'}",
                "ssl.keyStore.type=PEM",
                f"ssl.trustStore.location={self._tls.ca}",
                "ssl.trustStore.type=PEM",
                f"ssl.clientAuth={'need' if self._tls.client_auth else 'none'}",
            ]
        if len(self.servers) > 1:
            lines += [
                f"server.{one.number}=127.0.0.1:{one.peer_port.number}:{one.election_port.number}"
                for one in self.servers
            ]
        (server.folder / "zoo.cfg").write_text("\n".join(lines) + "\n")
