"""Opening the store that a URL names, for the control plane: it keeps everything there under `/herz/`."""

from __future__ import annotations

from typing import Final

from herz.errors import UsageError
from herz.sources.store import StoreSource
from herz.sources.urls import masked
from herz.store.base import Store

DEFAULT_STORE: Final = "sqlite:///herz.db"
_SCHEMES: Final = ("sqlite", "etcd", "etcd+tls")


def open_store(url: str, *, create: bool = True) -> Store:
    """The store at `sqlite:///FILE`, `etcd://HOST:PORT,…` or `etcd+tls://…?ca=&cert=&key=`; nothing is asked of it yet.

    With `create=False` an SQLite file that is missing is an error when it is first used. `UsageError` for another URL.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise UsageError(
            f"{masked(url)} is no store of a control plane", remedy="write sqlite:///herz.db or etcd://HOST:PORT"
        )
    location, _, query = rest.partition("?")
    if "#" in url or (scheme != "sqlite" and location.partition("/")[2].strip("/")):
        raise UsageError(
            f"{masked(url)}: a control plane has the whole store, all applications in it",
            remedy="leave out what stands behind the address of the store",
        )
    options = [option for option in query.split("&") if option]
    if scheme == "sqlite" and not create:
        options.append("create=false")
    whole = f"{scheme}://{location}" + (f"?{'&'.join(options)}" if options else "")
    return StoreSource.from_url(f"{whole}#herz").store
