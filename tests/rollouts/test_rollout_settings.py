"""Whoever starts the server says whom alerts reach, what installs programs, and how soon another one takes over."""

from __future__ import annotations

import pytest

from herz.errors import ConfigurationError, UsageError
from herz.server.rollouts.deployer import Hook
from herz.server.rollouts.standing import RolloutSettings
from herz.testing.memory_store import MemoryStore


def test_without_variables_nobody_is_told_and_nothing_is_installed():
    assert RolloutSettings.from_environment() == RolloutSettings()


def test_the_environment_names_alerts_deployers_and_the_time_of_a_takeover(tmp_path, monkeypatch):
    (tmp_path / "deployers.json").write_text('{"k8s": {"command": ["kubectl"]}}')
    monkeypatch.setenv("HERZ_ALERTS", " https://a.example.com/x\n slack://a/b/c ")
    monkeypatch.setenv("HERZ_DEPLOYERS", str(tmp_path / "deployers.json"))
    monkeypatch.setenv("HERZ_TAKEOVER_S", "2.5")
    found = RolloutSettings.from_environment()
    assert found.alerts == ("https://a.example.com/x", "slack://a/b/c")
    assert (found.deployers, found.ttl_s) == ({"k8s": Hook(command=("kubectl",))}, 2.5)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("HERZ_DEPLOYERS", "/no/such/file", ConfigurationError),
        ("HERZ_TAKEOVER_S", "soon", ConfigurationError),
        ("HERZ_TAKEOVER_S", "0", ConfigurationError),
        ("HERZ_TAKEOVER_S", "nan", ConfigurationError),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_start(monkeypatch, name, value, kind):
    monkeypatch.setenv(name, value)
    with pytest.raises(kind):
        RolloutSettings.from_environment()


async def test_a_server_does_not_start_with_alerts_that_it_cannot_send(running):
    store = MemoryStore()
    with pytest.raises(UsageError, match="is not encrypted"):
        async with running(store, RolloutSettings(alerts=("http://example.com/hook",))):
            pass
    await store.close()
