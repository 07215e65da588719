"""The languages of the console: English as it stands in the templates, and what catalogues beside them translate.

Catalogues are gettext's (`locale/<language>/*.po`), several to a language, each of one group of pages.
"""

from __future__ import annotations

import gettext
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Any, Final

from babel.core import Locale, negotiate_locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from litestar import Request

ENGLISH: Final = "en"
LANGUAGES: Final = {ENGLISH: "English", "zh": "中文"}
"""What there is, each by the name that its readers know."""
COOKIE: Final = "herz-language"


def chosen(request: Request[Any, Any, Any]) -> str:
    """The language of a page: what the reader chose once, else what the browser prefers, else English."""
    kept = request.cookies.get(COOKIE)
    if kept in LANGUAGES:
        return kept
    wanted = []
    for part in request.headers.get("accept-language", "")[:500].split(","):
        name, _, quality = part.strip().partition(";q=")
        wanted.append((-_quality(quality), name.strip().replace("-", "_")))
    names = [name for _, name in sorted(wanted, key=lambda one: one[0]) if name]
    found = negotiate_locale(names, list(LANGUAGES), aliases={})
    if found is None:
        found = next((name.partition("_")[0] for name in names if name.partition("_")[0] in LANGUAGES), ENGLISH)
    return found


def _quality(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0


@cache
def translations(language: str) -> gettext.NullTranslations:
    """The catalogue of a language; of English an empty one."""
    if language == ENGLISH:
        return gettext.NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, catalogue(language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def catalogue(language: str) -> Catalog:
    """All catalogues of a language as one."""
    merged = Catalog(locale=Locale.parse(language))
    folder = files("herz.server.console") / "locale" / language
    for one in sorted(folder.iterdir(), key=lambda one: one.name):
        if one.name.endswith(".po"):
            for message in read_po(BytesIO(one.read_bytes()), locale=language):
                if message.id:
                    merged.add(message.id, message.string, context=message.context)
    return merged
