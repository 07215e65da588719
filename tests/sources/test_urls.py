"""What a user writes as a source, and what is never printed of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from herz.errors import MissingExtra, UsageError
from herz.sources import urls
from herz.sources.base import Source
from herz.sources.environment import EnvironmentSource
from herz.sources.files import FileSource
from herz.sources.mapping import MappingSource
from herz.sources.urls import Scheme, SourceContext, masked, source_for


@pytest.mark.parametrize(
    "spec", ["application.yml", Path("application.yml"), "file:/etc/app.yml", "classpath:/config/"]
)
def test_paths_and_file_urls_are_file_sources(spec) -> None:
    source = source_for(spec, context=SourceContext(profiles=("prod",)))
    assert isinstance(source, FileSource)
    assert not source.optional


def test_text_may_start_with_optional() -> None:
    source = source_for("optional:file:./none.yml")
    assert isinstance(source, FileSource)
    assert source.optional


def test_mappings_and_sources_are_taken_as_they_are() -> None:
    assert isinstance(source_for({"a": 1}), MappingSource)
    for source in (EnvironmentSource({}), MappingSource({}), FileSource("x.yml")):
        assert isinstance(source, Source)
        assert source_for(source) is source


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match=r"unknown scheme 'ftp'.*classpath:, etcd:, .*file:, herz:, .*sqlite:, zookeeper:"
    ) as caught:
        source_for("ftp://user:hidden@host/x")
    assert "hidden" not in str(caught.value)
    with pytest.raises(UsageError, match="int is not a source"):
        source_for(3)


def test_a_scheme_whose_client_is_missing_says_what_to_install(tmp_path, monkeypatch) -> None:
    (tmp_path / "sample_vendor_source.py").write_text("import a_client_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(urls.SCHEMES, "vendor", Scheme("sample_vendor_source", "VendorSource", "vendor"))
    with pytest.raises(MissingExtra, match=r"a_client_that_is_not_there.*pip install 'herz\[vendor\]'"):
        source_for("optional:vendor://host/x")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("etcd://127.0.0.1:2379/config/pay", "etcd://127.0.0.1:2379/config/pay"),
        ("etcd://root:hidden@h1:1,h2:2/x?format=yaml", "etcd://••••@h1:1,h2:2/x?format=yaml"),
        ("etcd://root:hid@den@h1/x", "etcd://••••@h1/x"),
        ("herz+tls://h/x?token=hidden&ca=/a/b.pem", "herz+tls://h/x?token=••••&ca=/a/b.pem"),
        ("sqlite:///herz.db#app", "sqlite:///herz.db#app"),
        ("sqlite:///herz.db?password=hidden#app", "sqlite:///herz.db?password=••••#app"),
        ("herz://[broken?token=hidden", "herz://[broken?token=••••"),
        ("etcd://root:hid/den@h1/x", "etcd://••••@h1/x"),
        ("etcd://[::1]:2379/a@b", "etcd://[::1]:2379/a@b"),
        ("application.yml", "application.yml"),
    ],
)
def test_credentials_are_masked_wherever_a_url_is_printed(url, shown) -> None:
    assert masked(url) == shown
