"""The plan and checks of a rollout, from what the command line says."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from herz.errors import UsageError
from herz.formats.decode import decode, format_of
from herz.model.tree import thaw
from herz.model.units import seconds
from herz.release.plan import Plan, PlanKind


def plan_options(parser: argparse.ArgumentParser) -> None:
    """How a rollout proceeds."""
    group = parser.add_argument_group("the plan")
    kinds = group.add_mutually_exclusive_group()
    kinds.add_argument("--linear", metavar="PERCENT", help="batches of this share each: 20%%")
    kinds.add_argument(
        "--exponential",
        metavar="FIRST[xFACTOR]",
        help="a first batch, then that many times as many: 5%%x2 (the default)",
    )
    kinds.add_argument("--batches", metavar="PERCENT,…", help="cumulative shares: 1%%,10%%,50%%,100%%")
    group.add_argument(
        "--bake", metavar="TIME", type=duration_s, help="how long each batch is watched after it was verified: 30s, 5m"
    )
    group.add_argument(
        "--bake-max", metavar="TIME", type=duration_s, help="how long at most, while checks are inconclusive"
    )
    group.add_argument("--check-every", metavar="TIME", type=duration_s, help="how often checks are looked at")
    for step, what in (
        ("deploy", "the deployer has for a batch"),
        ("prepare", "instances have to build the release"),
        ("commit", "they have to flip"),
        ("verify", "they have to answer what they run"),
    ):
        group.add_argument(f"--{step}-window", metavar="TIME", type=duration_s, help=f"how long {what}")


def plan_of(arguments: argparse.Namespace) -> Plan:
    """The plan; `UsageError` naming what makes no sense."""
    given: dict[str, Any] = {}
    if arguments.linear is not None:
        given = {"kind": PlanKind.LINEAR, "step": percent(arguments.linear)}
    elif arguments.batches is not None:
        given = {"kind": PlanKind.EXPLICIT, "percent": tuple(map(percent, arguments.batches.split(",")))}
    elif arguments.exponential is not None:
        first, times, factor = arguments.exponential.partition("x")
        given = {"kind": PlanKind.EXPONENTIAL, "first": percent(first)} | ({"factor": _number(factor)} if times else {})
    for option, name in (
        ("bake", "bake_s"),
        ("bake_max", "bake_max_s"),
        ("check_every", "check_s"),
        *((f"{step}_window", f"{step}_s") for step in ("deploy", "prepare", "commit", "verify")),
    ):
        if getattr(arguments, option) is not None:
            given[name] = getattr(arguments, option)
    return Plan(**given).checked()


def duration_s(text: str) -> float:
    """Seconds of `30s`, `5m` or a number of seconds, for argparse."""
    try:
        return float(seconds(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def percent(text: str) -> float:
    """`20%` or `20` as 20.0."""
    return _number(text.strip().removesuffix("%"))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{text!r} is no number", remedy="write shares as 20%, factors as 2") from None


def selector_of(texts: Sequence[str]) -> dict[str, str]:
    """Labels that instances must have, from `zone=eu` and `zone=eu|us`."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"{text!r} selects nothing", remedy="write LABEL=VALUE, such as zone=eu or zone=eu|us")
        if name in found:
            raise UsageError(f"label {name} is named twice", remedy=f"write {name}={found[name]}|{value}")
        found[name] = value
    return found


def checks_of(name: str | None) -> list[Any]:
    """The list `checks` in a YAML, JSON or TOML file, each with `name`, `kind`, `options`."""
    if name is None:
        return []
    format = format_of(name)
    if format is None:
        raise UsageError(f"the name of {name} tells no format", remedy="let it end in .yml, .json or .toml")
    found = thaw(decode(Path(name).read_bytes(), format, name=name).tree.get("checks"))
    if not isinstance(found, list):
        raise UsageError(
            "there is no list of checks", where=name, remedy="write `checks:`, and each below with name and kind"
        )
    return found
