"""What the application declares, tried on what is configured: does everything fit, is everything provided."""

from __future__ import annotations

from collections.abc import Iterator

from herz.cli.doctor.examination import Examination
from herz.cli.doctor.finding import Finding
from herz.errors import BindingError, UsageError
from herz.live.providers import Properties
from herz.model.secret import SecretKeys
from herz.model.tree import lookup, spelled

_SECRETS = SecretKeys()


def check(examination: Examination) -> Iterator[Finding]:
    """Constructors that cannot be filled, values that do not fit their model, keys that no field reads."""
    application = examination.application
    if application is None:
        return
    try:
        application.providers.settle()
    except UsageError as error:
        yield Finding(
            "unprovided",
            "error",
            error.what,
            application.name,
            error.remedy or "declare what is missing, or take a handle where two need each other",
        )
    for properties in application.properties:
        yield from _bound(examination, properties)
        yield from _plain_secrets(properties)


def _bound(examination: Examination, properties: Properties) -> Iterator[Finding]:
    composition = examination.composition
    assert examination.application is not None  # noqa: S101  asked by the only caller
    path = spelled(composition.tree, properties.binding.path)
    try:
        bound = properties.binding.bind(
            lookup(composition.tree, path),
            place=composition.locate,
            secret=composition.secrets,
            elsewhere=examination.application.providers.elsewhere(properties.binding),
            at=path,
        )
    except BindingError as error:
        for problem in error.problems:
            yield Finding(
                "does-not-fit",
                "error",
                f"{properties.name}: {problem}",
                properties.place,
                "mend the value; until then the service does not start, or keeps the last good configuration",
            )
        return
    for line in bound.unknown:
        near = "did you mean" in line
        what, _, place = line.removesuffix(")").rpartition(" (")
        yield Finding(
            "misspelled-key" if near else "unread-key",
            "warning",
            f"{what}; no field of {properties.name} ({properties.place}) reads it",
            place,
            "mend the spelling, or remove it" if near else f"add the field to {properties.name}, or remove the key",
        )


def _plain_secrets(properties: Properties) -> Iterator[Finding]:
    """Fields whose name says secret and whose type does not."""
    for path, field in properties.binding.fields.items():
        if path and _SECRETS.names(path[-1]) and not field.shape.secret and str in field.shape.natural:
            name = ".".join((properties.at, *path)) if properties.at else ".".join(path)
            yield Finding(
                "plain-secret-field",
                "warning",
                f"{properties.name}.{field.name} holds a secret ({name}) as plain text, which prints and is logged",
                properties.place,
                f"annotate it: {field.name}: Secret (from herz import Secret); .reveal() gives the text",
            )
