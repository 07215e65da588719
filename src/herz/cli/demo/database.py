"""The demo's database: a real server on the loopback interface, whose sessions are real TCP connections.

It answers `PAY <order> <cents>` with `PAID <order> <session>` a moment later, and `STATS` with its own counts. A
session that ends while a payment is under way is counted as cut: that is what closing a pool in use looks like.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Final

from herz.cli.demo.process import announce, dismissed

WORK_S: Final = 0.002
"""How long a payment takes unless told otherwise, so that some are always under way when a pool is replaced."""


class Database:
    """Sessions and their counts."""

    def __init__(self, *, work_s: float = WORK_S) -> None:
        self._work_s = work_s
        self.opened = 0
        self.closed = 0
        self.cut = 0
        self.payments = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One session, from connect to close."""
        session, busy = 0, False
        try:
            async for line in reader:
                command, *arguments = line.decode().split()
                if command == "STATS":
                    counts = {"open": self.opened - self.closed, "closed": self.closed, "cut": self.cut}
                    writer.write(json.dumps(counts).encode() + b"\n")
                    continue
                if command == "OPEN":
                    self.opened += 1
                    session = self.opened
                    writer.write(f"SESSION {session}\n".encode())
                    continue
                busy = True
                await asyncio.sleep(self._work_s)
                if reader.at_eof():
                    break
                self.payments += 1
                writer.write(f"PAID {arguments[0]} {session}\n".encode())
                await writer.drain()
                busy = False
        except ConnectionError:
            busy = True
        finally:
            if session:
                self.closed += 1
                self.cut += busy
            writer.close()


async def main() -> None:
    """Serve on a free port until dismissed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work-s", type=float, default=WORK_S)
    database = Database(work_s=parser.parse_args().work_s)
    server = await asyncio.start_server(database.serve, "127.0.0.1", 0)
    announce(port=server.sockets[0].getsockname()[1])
    await dismissed()
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
