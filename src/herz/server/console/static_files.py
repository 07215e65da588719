"""What pages load besides: one stylesheet, small modules of our own, and libraries that the build brought.

All of it is read once and served from memory. Its path names the version of the whole, so browsers keep it for ever,
and modules find each other by relative paths.
"""

from __future__ import annotations

import gzip
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final, NamedTuple

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from herz.server.plane import Plane
from herz.server.problems import not_found

TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
FOR_EVER: Final = "public, max-age=31536000, immutable"
_SMALL: Final = 600
"""Bytes below which packing gains nothing."""


class File(NamedTuple):
    """A file as it is sent."""

    data: bytes
    packed: bytes | None
    media_type: str


class StaticFiles:
    """Every file below `static`, and the version of them all."""

    def __init__(self) -> None:
        self.files = dict(sorted(_read(files("herz.server.console") / "static", "")))
        digest = sha256()
        for path, file in self.files.items():
            digest.update(f"{path} {len(file.data)} ".encode() + file.data)
        self.version: Final = digest.hexdigest()[:12]

    def url(self, path: str) -> str:
        """Where a page finds a file; `KeyError` when there is none."""
        self.files[path]
        return f"/console/static/{self.version}/{path}"


def _read(folder: Traversable, above: str) -> list[tuple[str, File]]:
    found: list[tuple[str, File]] = []
    for one in folder.iterdir():
        path = above + one.name
        if one.is_dir():
            found += _read(one, f"{path}/")
        elif (kind := TYPES.get(one.name.rpartition(".")[2])) is not None:
            data = one.read_bytes()
            beside = folder / f"{one.name}.gz"
            if beside.is_file():
                packed = beside.read_bytes()
            else:
                packed = gzip.compress(data, mtime=0)
            found.append((path, File(data, packed if len(data) > _SMALL else None, kind)))
    return found


@get("/static/{version:str}/{file:path}", opt={"open": True}, include_in_schema=False)
async def static_file(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], version: FromPath[str], file: FromPath[str]
) -> Response[bytes]:
    """A file by its path; any version gets the one that there is, and only the right one may be kept."""
    static = plane.of(StaticFiles)
    found = static.files.get(str(file).lstrip("/"))
    if found is None:
        raise not_found(f"there is no file {file}", remedy="run `make assets` where a library is missing")
    headers = {"cache-control": FOR_EVER if version == static.version else "no-cache", "vary": "accept-encoding"}
    if found.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, headers={**headers, "content-encoding": "gzip"}, media_type=found.media_type)
    return Response(found.data, headers=headers, media_type=found.media_type)
