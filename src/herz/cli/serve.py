"""`herz serve`: run the control plane."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import json
import logging
import os
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from herz.cli.arguments import command
from herz.cli.output import paint, print_json
from herz.errors import MissingExtra

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers
    from herz.server.serve import ServeOptions, Started
    from herz.tls.material import Fault

_STORE: Final = "sqlite:///herz.db"
_LISTEN: Final = "http://127.0.0.1:4379"

_DESCRIPTION: Final = f"""\
Run the control plane: releases, who runs them, and rollouts with proof. Everything is kept in the store; any
number of servers may share one etcd.

On loopback it is open: no token is needed. On any other address it starts only when there is a token
(herz token create), or with --require-tokens, which prints the first one. An https address needs --cert and
--key, and never falls back to plain text. Listens on {_LISTEN} unless told otherwise.

SIGTERM ends it in order: streams are told, requests under way are finished."""

_EXAMPLES: Final = """\
  herz serve                                                       open, for this machine, in ./herz.db
  herz serve --store etcd://10.0.0.1:2379,10.0.0.2:2379 --require-tokens
  herz serve --listen https://0.0.0.0:4379 --cert herz.crt --key herz.key
  herz serve --listen http://127.0.0.1:4379 --listen https://10.0.0.5:4380 --cert … --key … --client-ca ca.crt"""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    serving = command(
        subparsers, "serve", run, summary="run the control plane", description=_DESCRIPTION, examples=_EXAMPLES
    )
    serving.add_argument(
        "--store",
        metavar="URL",
        help=f"sqlite:///FILE or etcd://HOST:PORT,… (default: HERZ_STORE, else {_STORE})",
    )
    serving.add_argument(
        "--listen", action="append", metavar="URL", help=f"http:// or https://HOST:PORT; may be repeated ({_LISTEN})"
    )
    serving.add_argument("--cert", metavar="FILE", help="the server's certificate with its chain, for https")
    serving.add_argument("--key", metavar="FILE", help="and its key")
    serving.add_argument(
        "--client-ca", metavar="FILE", help="take only clients with a certificate that one of these authorities signed"
    )
    serving.add_argument(
        "--require-tokens", action="store_true", help="ask for a token on loopback as well; prints the first one"
    )
    serving.add_argument("--name", metavar="NAME", help="what this server is called (default: the host's name)")
    serving.add_argument("--json-log", action="store_true", help="log one JSON object a line")


def run(arguments: argparse.Namespace) -> int:
    """Serve until the process is told to stop."""
    options = options_of(arguments)
    from herz.server.serve import serve

    _log(as_json=arguments.json_log)
    _raise_file_limit()

    def tell(started: Started) -> None:
        _tell(started, as_json=arguments.json)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(options, tell, _warn))
    return 0


def options_of(arguments: argparse.Namespace) -> ServeOptions:
    """What the command line and the environment ask for. `MissingExtra` where the server is not installed."""
    try:
        from herz.server.serve import ServeOptions
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"herz serve needs {error.name}, which is not installed", remedy="pip install 'herz[server]'"
        ) from error
    return ServeOptions(
        store=arguments.store or os.environ.get("HERZ_STORE") or _STORE,
        listen=tuple(arguments.listen or (_LISTEN,)),
        cert=arguments.cert,
        key=arguments.key,
        client_ca=arguments.client_ca,
        require_tokens=arguments.require_tokens,
        name=arguments.name or socket.gethostname(),
        user=_user(),
    )


def _tell(started: Started, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "listening": list(started.listening),
                "store": started.store,
                "identity": started.identity,
                "name": started.name,
                "open": started.open,
                "token": started.token,
            },
            lines=True,
        )
        return
    for url in started.listening:
        print(f"herz serve listens on {paint(url, 'bold')}")
    print(f"store: {started.store}")
    who = "open: no token is needed, for only this machine can reach it" if started.open else "a token is needed"
    print(who)
    if started.token is not None:
        print(f"\nThe first token, good for a day and for everything; it is shown this once:\n\n  {started.token}\n")
        print("Make others with it: HERZ_TOKEN=… herz token create NAME --grant pay:release")
    sys.stdout.flush()


def _warn(fault: Fault) -> None:
    print(f"{paint('herz:', 'yellow', sys.stderr)} {fault.what}\n  → {fault.remedy}", file=sys.stderr)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made


def _raise_file_limit() -> None:
    """Every client is an open file: take as many as the system lets us."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # where there is no such thing (Windows), there is no such limit

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _JsonLog(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=False)


def _log(*, as_json: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLog() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("herz", logging.INFO), ("uvicorn", logging.WARNING), ("litestar", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
