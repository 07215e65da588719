"""The documentation states the defaults that hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from herz.formats.fault import Limits
from herz.live.providers import Provider
from herz.model.units import seconds, size
from herz.settings import KNOWN, Settings

DOCS = Path(__file__).parents[2] / "docs"


def column(page: str, heading: str) -> dict[str, str]:
    """The first and second cell of each row of the table below a heading, without back-ticks."""
    text = (DOCS / page).read_text(encoding="utf-8").partition(f"\n{heading}\n")[2].partition("\n#")[0]
    rows = [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {row[0]: row[1] for row in rows if len(row) > 1 and not set(row[0]) <= set("-: ")}


OPTIONS = column("sources.md", "## All of Herz's own options")
DEFAULT = Settings()


def test_every_option_is_documented() -> None:
    assert set(OPTIONS) - {"key"} == KNOWN


@pytest.mark.parametrize(
    ("key", "means"),
    [
        ("herz.config.watch.enabled", lambda said: said == str(DEFAULT.watch_enabled).lower()),
        ("herz.config.watch.paths", lambda said: DEFAULT.watch_paths is None and said == "everything that was loaded"),
        ("herz.config.watch.interval", lambda said: float(seconds(said)) == DEFAULT.watch_interval_s),
        ("herz.config.watch.retry", lambda said: said == DEFAULT.watch_retry),
        ("herz.config.import", lambda said: DEFAULT.imports == () and said == "none"),
        ("herz.config.limits.max-bytes", lambda said: size(said) == DEFAULT.max_bytes == Limits().max_bytes),
        ("herz.config.limits.max-depth", lambda said: int(said) == DEFAULT.max_depth == Limits().max_depth),
        ("herz.config.last-good", lambda said: DEFAULT.last_good is None and said == "none"),
        ("herz.config.strict", lambda said: said == str(DEFAULT.strict).lower()),
        ("herz.profiles.active", lambda said: DEFAULT.profiles == () and said == "none"),
        ("herz.secrets.patterns", lambda said: DEFAULT.secret_patterns == () and said == "none"),
        ("management.endpoints.web.exposure.include", lambda said: frozenset(said.split(", ")) == DEFAULT.exposure),
        ("management.endpoint.refresh.show-details", lambda said: said == DEFAULT.refresh_details),
        ("management.endpoint.health.show-details", lambda said: said == DEFAULT.health_details),
    ],
)
def test_the_default_of_an_option_is_what_the_page_says(key, means) -> None:
    assert means(OPTIONS[key])


def test_the_defaults_of_the_refresh_scope_are_what_the_page_says() -> None:
    said = column("guide/refresh-scope.md", "## Options")
    provider = Provider(lambda: object(), object)
    for name in ("build_s", "grace_s", "drain_s", "close_s"):
        assert float(said[name]) == getattr(provider, name)
    assert (said["eager"], said["overrun"]) == (str(provider.eager), f'"{provider.overrun}"')


def test_the_limit_on_aliases_is_what_the_page_says() -> None:
    text = (DOCS / "sources.md").read_text(encoding="utf-8")
    found = re.search(r"([\d,]+) nodes that YAML aliases expand to", text)
    assert found is not None
    assert int(found[1].replace(",", "")) == Limits().max_alias_nodes
