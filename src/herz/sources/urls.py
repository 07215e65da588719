"""What a user writes as a source, made into one: a path, a URL, a mapping, or a source already."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote

from herz.errors import MissingExtra, UsageError
from herz.formats.fault import Limits
from herz.model.secret import MASK, SecretKeys
from herz.sources.base import Source
from herz.sources.file_patterns import WatchPaths
from herz.sources.files import CHECK_S, FileSource
from herz.sources.mapping import MappingSource

OPTIONAL: Final = "optional:"
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # two letters at least: C:\ is a drive
_AUTHORITY: Final = re.compile(r"[^/?#]+")
_NOT_A_PORT: Final = re.compile(r":[^,\]]*[^0-9,:\]]")
_QUERY: Final = re.compile(r"([?&][^=&#]+)=[^&#]*")


class Scheme(NamedTuple):
    """Where the source of a URL scheme is: a class with `from_url(url, *, optional, context)`.

    `extra` is what has to be installed for it (`herz[extra]`), None for what Herz always brings.
    """

    module: str
    name: str
    extra: str | None = None


SCHEMES: dict[str, Scheme] = {
    "sqlite": Scheme("herz.sources.store", "StoreSource"),
    "etcd": Scheme("herz.sources.store", "StoreSource", "etcd"),
    "etcd+tls": Scheme("herz.sources.store", "StoreSource", "etcd"),
    "herz": Scheme("herz.sources.released", "ReleasedSource", "client"),
    "herz+tls": Scheme("herz.sources.released", "ReleasedSource", "client"),
    "herz+etcd": Scheme("herz.sources.released", "ReleasedSource", "etcd"),
    "herz+etcd+tls": Scheme("herz.sources.released", "ReleasedSource", "etcd"),
    "herz+sqlite": Scheme("herz.sources.released", "ReleasedSource"),
    "zookeeper": Scheme("herz.sources.zookeeper", "ZookeeperSource", "zookeeper"),
    "zookeeper+tls": Scheme("herz.sources.zookeeper", "ZookeeperSource", "zookeeper"),
}
"""The URL schemes besides `file:` and `classpath:`; each vendor's client is imported when its scheme is first used."""


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What sources are made with: see `FileSource` for each. `check_s` is `herz.config.watch.interval` in seconds.

    `environment` names the instance, its labels and token to sources that say who they are.
    """

    base_folders: tuple[str | os.PathLike[str], ...] = ()
    profiles: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    watch: WatchPaths | None = None
    check_s: float = CHECK_S
    environment: Mapping[str, str] | None = None


def source_for(spec: object, *, context: SourceContext | None = None) -> Source:
    """The source that `spec` means.

    A path, folder or glob as text or `Path`; `file:…`, `classpath:…`; a URL of `SCHEMES`; a mapping; an
    object that is a source is answered as it is. Text may start with `optional:`. `UsageError` for an
    unknown scheme or another object, `MissingExtra` for a scheme whose client is not installed.
    """
    context = context if context is not None else SourceContext()
    if isinstance(spec, Source):
        return spec
    if isinstance(spec, Mapping):
        return MappingSource(spec)
    if isinstance(spec, str):
        optional = spec.startswith(OPTIONAL)
        text = spec.removeprefix(OPTIONAL)
        match = _SCHEME.match(text)
        if match is not None and match[1] not in ("file", "classpath") and not os.path.exists(text):
            return _from_url(text, match[1].lower(), optional, context)
        return _files(text, optional, context)
    if isinstance(spec, os.PathLike):
        return _files(Path(os.fspath(spec)), False, context)
    raise UsageError(
        f"{type(spec).__name__} is not a source",
        remedy="pass a path, a URL, a mapping or an object with read and follow",
    )


def masked(url: str) -> str:
    """`url` with its user information, and every query value under a secret name, as `••••`."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    authority = _AUTHORITY.match(rest)
    if authority is not None and "@" in authority[0]:
        rest = f"{MASK}@{authority[0].rpartition('@')[2]}{rest[authority.end() :]}"
    elif authority is not None and "@" in rest and _NOT_A_PORT.search(authority[0]):
        rest = f"{MASK}@{rest.rpartition('@')[2]}"  # a password with a `/`, `?` or `#` that was not escaped
    secret = SecretKeys()

    def hidden(match: re.Match[str]) -> str:
        return f"{match[1]}={MASK}" if secret.names(unquote(match[1][1:]).lower()) else match[0]

    return f"{scheme}://{_QUERY.sub(hidden, rest)}"


def _files(spec: str | Path, optional: bool, context: SourceContext) -> FileSource:
    return FileSource(
        spec,
        profiles=context.profiles,
        base_folders=context.base_folders,
        optional=optional,
        watch=context.watch,
        limits=context.limits,
        check_s=context.check_s,
    )


def _from_url(url: str, name: str, optional: bool, context: SourceContext) -> Source:
    scheme = SCHEMES.get(name)
    if scheme is None:
        known = ", ".join(f"{known}:" for known in sorted({"file", "classpath", *SCHEMES}))
        raise UsageError(f"{masked(url)}: unknown scheme {name!r}", remedy=f"known are {known} and plain paths")
    try:
        module = importlib.import_module(scheme.module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "herz" and scheme.extra is None:
            raise
        raise MissingExtra(
            f"{masked(url)} needs {error.name}, which is not installed",
            remedy=f"pip install 'herz[{scheme.extra or name}]'",
        ) from error
    make: Callable[..., Source] = getattr(module, scheme.name).from_url
    return make(url, optional=optional, context=context)
