"""Where one application's configuration lies in a store, and its history beside it.

* `/config/<app>/<path>` holds a value; the segments of a key are separated by slashes: `db.pool` of `pay` is
  `/config/pay/db/pool`. A slash or percent sign inside a segment is written `%2F`, `%25`.
* `/history/<app>/head` holds the number of the last record; every change of the application writes it.
* `/history/<app>/record/<number>` holds who changed what, when and why, without secrets.
* `/history/<app>/sealed/<number>` holds the secret values of that record, so that they can be rolled back.
  Access rights can be given to the three parts apart, where the store has them.
"""

from __future__ import annotations

import re
from typing import Final

from herz.errors import UsageError
from herz.model.key import join, split

_APP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def checked_app(app: str) -> str:
    """`app` itself; `UsageError` when it is not a plain name."""
    if not _APP.fullmatch(app):
        raise UsageError(
            f"{app!r} is not the name of an application",
            remedy="use letters, digits, dots, dashes and underscores, as in sqlite:///herz.db#pay",
        )
    return app


def config_prefix(app: str) -> str:
    """The prefix under which the values of `app` lie."""
    return f"/config/{checked_app(app)}/"


def config_name(app: str, key: str) -> str:
    """The name in the store of a configuration key."""
    return config_prefix(app) + "/".join(segment.replace("%", "%25").replace("/", "%2F") for segment in split(key))


def config_key(app: str, name: str) -> str:
    """The configuration key of a name in the store; the inverse of `config_name`."""
    path = name.removeprefix(config_prefix(app)).split("/")
    return join(segment.replace("%2F", "/").replace("%25", "%") for segment in path)


def head_name(app: str) -> str:
    """The name of the counter of records."""
    return f"/history/{checked_app(app)}/head"


def record_name(app: str, number: int, *, sealed: bool = False) -> str:
    """The name of a record, or of its secret part. Names sort as their numbers do."""
    return f"/history/{checked_app(app)}/{'sealed' if sealed else 'record'}/{number:016d}"
