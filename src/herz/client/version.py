"""Names of releases as people write them: `13`, `"13"`, `"pay/default@13"`."""

from __future__ import annotations

import re
from typing import Final

from herz.errors import UsageError
from herz.store.plane import DEFAULT_NAMESPACE, checked_name

_VERSION: Final = re.compile(r"(?:(?P<app>[^/@]+)(?:/(?P<namespace>[^/@]+))?@)?(?P<number>[1-9][0-9]{0,9})")


def named_place(name: str, namespace: str | None = None) -> tuple[str, str]:
    """Application and namespace of `pay` or `pay/eu`; the namespace is "default" where none is named."""
    app, slash, inside = name.partition("/")
    if slash and namespace is not None and namespace != inside:
        raise UsageError(f"two namespaces are named: {inside!r} and {namespace!r}", remedy="name one")
    found = inside if slash else DEFAULT_NAMESPACE if namespace is None else namespace
    return checked_name(app, "an application"), checked_name(found, "a namespace")


def release_number(version: int | str, app: str, namespace: str) -> int:
    """The number of a release of `app/namespace`; `UsageError` when `version` is none, or names one of elsewhere."""
    match = None if isinstance(version, bool) else _VERSION.fullmatch(str(version))
    if match is None:
        raise UsageError(f"{version!r} is no version of a release", remedy=f"write 13, or {app}/{namespace}@13")
    if match["app"] is not None and (match["app"], match["namespace"] or DEFAULT_NAMESPACE) != (app, namespace):
        raise UsageError(
            f"{version} is no release of {app}/{namespace}", remedy=f"write {app}/{namespace}@{match['number']}"
        )
    return int(match["number"])
