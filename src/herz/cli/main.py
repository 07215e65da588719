"""The entry point of the `herz` command: the parser, and what becomes of errors."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Final

from herz import __version__
from herz.cli import (
    accept,
    approval,
    audit,
    demo,
    diff,
    draft,
    explain,
    fingerprint,
    fleet,
    get,
    history,
    impact,
    release,
    role,
    rollout,
    serve,
    token,
    user,
    verify,
    watch,
)
from herz.cli import set as set_
from herz.cli.arguments import joined
from herz.cli.doctor import command as doctor
from herz.cli.output import as_json, paint
from herz.client import DraftConflict, NotThere
from herz.errors import HerzError, UsageError

WRONG: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells count
BROKEN_PIPE: Final = 141  # 128 + SIGPIPE

_DESCRIPTION: Final = """\
Herz keeps the configuration of running Python services hot: a change made at its source
reaches every object that uses it, whole, in order, exactly once.

This command looks at the same configuration as the service does, says where each value
comes from, changes what lies in a store, and finds out why a change did not arrive."""

_EPILOG: Final = """\
common flows:
  What does the service see, and who says so?
    herz get herz.service                    the values under a key, secrets masked
    herz explain herz.service.timeout        the winner with file:line, and what it overrode

  I changed a file and nothing happened.
    herz doctor                              what is wrong, and what to do about it
    herz watch herz.service                  print each change as it is applied

  I emptied a file on purpose, and the service keeps what was in it.
    herz accept --url http://127.0.0.1:8000/actuator

  Change a value in the store, and take it back.
    herz set herz.service.timeout=5s --store sqlite:///herz.db#pay --message "slow bank"
    herz history --store sqlite:///herz.db#pay
    herz rollback 12 --store sqlite:///herz.db#pay

  Do two machines run the same?
    herz fingerprint --release               equal wherever the shared documents are
    herz diff staging.yml production.yml     what differs by meaning, not by writing

  Release to a fleet, batch by batch, each proved whole (herz serve runs the control plane).
    herz draft set db.pool=20 --app pay      then `herz draft diff`, `herz impact`
    herz release create --dormant -m 'more load'
    herz rollout start 13 --app pay --watch  rolled back by itself where an instance differs
    herz verify --version pay/default@13     the proof, whenever you like

which configuration: --source, else HERZ_SOURCES, else application.yml (.yaml, .toml, .json,
.properties) in the current folder. `herz COMMAND --help` has examples for each command.

exit status: 0 all right, 1 something is wrong or was refused, 2 the command was not understood."""


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    top = argparse.ArgumentParser(
        prog="herz",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"herz {__version__}")
    subparsers = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for module in (get, explain, set_, history, diff, watch, fingerprint, doctor, accept, demo):
        module.add_parser(subparsers)
    for module in (serve, token, user, role, audit):  # the control plane itself
        module.add_parser(subparsers)
    for module in (draft, approval, release, rollout, fleet, verify, impact):  # they ask it
        module.add_parser(subparsers)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status.

    0: all right. 1: something is wrong, or was refused. 2: the command was not understood. 130: interrupted.
    141: whoever read the output has gone.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show • or → is told all the same
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _main(argv)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Nothing more can be told; the interpreter must not try to flush what is left.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED


def _main(argv: Sequence[str] | None) -> int:
    top = parser()
    try:
        arguments = top.parse_args(joined(sys.argv[1:] if argv is None else argv, "--etcd-args"))
        if arguments.command is None:
            top.print_help(sys.stderr)
            return USAGE
    except SystemExit as end:  # argparse has said what it had to
        return end.code if isinstance(end.code, int) else USAGE
    try:
        return int(arguments.run(arguments))
    except HerzError as error:
        _report(error, bool(getattr(arguments, "json", False)))
        return USAGE if isinstance(error, UsageError) and not isinstance(error, NotThere) else WRONG
    except BrokenPipeError:
        raise
    except OSError as error:  # the system refuses something that no check foresaw: a folder that is gone, a full disk
        _report(_refused(error), bool(getattr(arguments, "json", False)))
        return WRONG


def _refused(error: OSError) -> HerzError:
    return HerzError(error.strerror or str(error), where=error.filename, remedy="look at the file and its file system")


def _report(error: HerzError, as_data: bool) -> None:
    """What happened, where, what now: on standard error, and as JSON on standard output where that was asked for."""
    if as_data:
        facts: dict[str, object] = {
            "type": type(error).__name__,
            "what": error.what,
            "where": error.where,
            "remedy": error.remedy,
        }
        if isinstance(error, DraftConflict):
            facts |= {"theirs": error.theirs, "difference": error.difference, "changed": error.changed}
        print(as_json({"error": facts}))
    what = error.what if error.where is None else f"{error.what} ({error.where})"
    print(f"{paint('herz:', 'red', sys.stderr)} {what}", file=sys.stderr)
    if error.remedy is not None:
        print(f"  → {error.remedy}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
