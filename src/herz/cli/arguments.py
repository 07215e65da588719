"""What sub-commands have in common: options, help that teaches, and where configuration comes from by default."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from herz.app.wanted import Wanted
from herz.errors import UsageError

if TYPE_CHECKING:
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

Run: TypeAlias = Callable[[argparse.Namespace], int]
"""What a sub-command does; answers its exit status."""

DEFAULT_FILES: Final = tuple(f"application.{ending}" for ending in ("yml", "yaml", "toml", "json", "properties"))
"""What is read when nothing says what to read, the first that exists."""


def command(
    subparsers: Subparsers,
    name: str,
    run: Run,
    *,
    summary: str,
    description: str = "",
    examples: str = "",
    parents: Sequence[argparse.ArgumentParser] = (),
) -> argparse.ArgumentParser:
    """A sub-command with `--json`, the options of `parents`, and examples under its help."""
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=description or summary,
        epilog=f"examples:\n{examples}" if examples else None,
        parents=[*parents, json_option()],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def group(subparsers: Subparsers, name: str, summary: str, description: str, examples: str) -> Subparsers:
    """A command that is followed by another: `herz draft show`."""
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser.add_subparsers(dest=f"{name}_command", metavar="COMMAND", title="commands", required=True)


def json_option() -> argparse.ArgumentParser:
    """`--json`, which every sub-command has."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parent


def source_options() -> argparse.ArgumentParser:
    """Which configuration is meant."""
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("which configuration")
    group.add_argument(
        "-s",
        "--source",
        action="append",
        metavar="SOURCE",
        help="a path, folder, glob, classpath:… or URL; may be repeated, later ones win "
        f"(default: HERZ_SOURCES, separated by commas, else {DEFAULT_FILES[0]}, .yaml, .toml, .json or .properties "
        "in the current folder)",
    )
    group.add_argument(
        "--profile",
        action="append",
        metavar="NAME",
        help="a profile whose files (name-NAME.yml) are read as well; may be repeated (default: HERZ_PROFILES)",
    )
    group.add_argument(
        "--base-folder",
        action="append",
        metavar="FOLDER",
        help="where classpath: looks; may be repeated (default: the current folder)",
    )
    return parent


def store_options() -> argparse.ArgumentParser:
    """Which store is meant."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        "--store",
        metavar="URL",
        help="sqlite:///FILE#APPLICATION or etcd://HOST:PORT#APPLICATION "
        "(default: HERZ_STORE, else the only such source of the configuration)",
    )
    return parent


def joined(argv: Sequence[str], option: str) -> list[str]:
    """`argv` with the value of `option` put behind a `=`, for a value that begins with a dash is not an option."""
    words = list(argv)
    for place, word in enumerate(words[:-1]):
        if word == option and words[place + 1].startswith("-"):
            return [*words[:place], f"{option}={words[place + 1]}", *words[place + 2 :]]
    return words


def positive(text: str) -> int:
    """A whole number above zero, for argparse."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above zero, got {text!r}")
    return int(text)


def sources_of(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The sources that the command line, the environment or the current folder names, lowest rank first.

    `UsageError` when there is none.
    """
    if arguments.source:
        return tuple(arguments.source)
    named = tuple(part.strip() for part in os.environ.get("HERZ_SOURCES", "").split(",") if part.strip())
    if named:
        return named
    for name in DEFAULT_FILES:
        if Path(name).exists():
            return (name,)
    raise UsageError(
        f"no configuration is named, and there is no {DEFAULT_FILES[0]} in {Path.cwd()}",
        remedy="pass --source PATH, or set HERZ_SOURCES",
    )


def wanted_of(arguments: argparse.Namespace, sources: Sequence[str] | None = None) -> Wanted:
    """What to load: `sources`, by default those of `sources_of`, with the profiles and folders of the command line."""
    return Wanted(
        specs=tuple(sources_of(arguments) if sources is None else sources),
        arguments=(),
        environment=os.environ,
        environment_prefix="",
        base_folders=tuple(arguments.base_folder or ()),
        profiles=profiles_of(arguments),
        secret_patterns=(),
        last_good=None,
    )


def profiles_of(arguments: argparse.Namespace) -> tuple[str, ...] | None:
    """The profiles of the command line, None when it names none."""
    if not arguments.profile:
        return None
    return tuple(part.strip() for name in arguments.profile for part in name.split(",") if part.strip())
