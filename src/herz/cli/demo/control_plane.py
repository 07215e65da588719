"""The demo's control plane: what `herz serve` runs, on a free port, with a store in the demo's folder."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys

from herz.cli.demo.process import announce, dismissed
from herz.server.serve import ServeOptions, Started, serve
from herz.tls.material import Fault


def tell(started: Started) -> None:
    """Say where it listens."""
    announce(url=started.listening[0])


def warn(fault: Fault) -> None:
    """Put a warning into the log."""
    print(fault.what, file=sys.stderr)


async def main() -> None:
    """Serve until dismissed, then end as on SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", default="sqlite:///herz.db")
    logging.basicConfig(level=logging.WARNING)
    options = ServeOptions(store=parser.parse_args().store, listen=("http://127.0.0.1:0",), name="demo", user="demo")
    serving = asyncio.create_task(serve(options, tell, warn))
    leaving = asyncio.create_task(dismissed())
    await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        os.kill(os.getpid(), signal.SIGTERM)
    await serving


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
