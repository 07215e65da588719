"""`herz token` and `herz audit`: on the store itself where there is no server, at a server where one is named."""

from __future__ import annotations

import asyncio
import json

import pytest

from herz.cli.main import main
from herz.server.audit import ENTRIES
from herz.server.opening import open_store


def test_the_audit_log_of_a_store_is_verified_without_a_server(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        main(["token", "create", f"t{number}", "--grant", "pay:read", "--store", "sqlite:///herz.db"])
    capsys.readouterr()
    assert main(["audit", "verify", "--store", "sqlite:///herz.db", "--json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["ok"], last["entries"], last["broken_at"]) == (True, 3, None)
    asyncio.run(changed("sqlite:///herz.db"))
    assert main(["audit", "verify", "--store", "sqlite:///herz.db", "--json"]) == 1
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["ok"], last["entries"], last["broken_at"]) == (False, 3, 2)
    assert main(["audit", "verify", "--store", "sqlite:///herz.db"]) == 1
    assert "entry 2" in capsys.readouterr().out


async def changed(url):
    store = open_store(url)
    key = f"{ENTRIES}{2:016d}"
    entry = await store.get(key)
    assert entry is not None
    await store.put(key, entry.value.replace(b"t1", b"t9"))
    await store.close()


def test_acts_are_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["token", "create", "ops", "--grant", "*:admin", "--store", "sqlite:///herz.db", "--expires", "30d"])
    capsys.readouterr()
    assert main(["audit", "list", "--store", "sqlite:///herz.db"]) == 0
    assert "token.created" in capsys.readouterr().out


def test_tokens_are_listed_and_revoked_in_the_store(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    store = ("--store", "sqlite:///herz.db")
    main(["token", "create", "ops", "--grant", "*:admin", "--json", *store])
    made = json.loads(capsys.readouterr().out)
    assert main(["token", "list", *store]) == 0
    assert made["id"] in capsys.readouterr().out
    assert main(["token", "revoke", made["id"], *store]) == 0
    capsys.readouterr()
    main(["token", "list", "--json", *store])
    assert json.loads(capsys.readouterr().out) == {"tokens": []}


def test_a_store_that_is_not_there_is_not_made_by_looking(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["audit", "verify", "--store", "sqlite:///herz.db"]) == 1
    assert not (tmp_path / "herz.db").exists()


@pytest.mark.parametrize("when", ["soon", "30", "-1d", "2001-01-01"])
def test_an_end_that_is_no_time_or_over_is_refused(tmp_path, monkeypatch, when):
    monkeypatch.chdir(tmp_path)
    arguments = ["token", "create", "x", "--grant", "*:read", f"--expires={when}", "--store", "sqlite:///herz.db"]
    assert main(arguments) == 2


def test_naming_both_a_store_and_a_server_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["token", "list", "--store", "sqlite:///herz.db", "--server", "http://127.0.0.1:1"]) == 2


@pytest.mark.slow
def test_commands_ask_a_server_where_one_is_named(serve, capsys, monkeypatch):
    server = serve("--require-tokens")
    monkeypatch.setenv("HERZ_TOKEN", server.token)
    where = ("--server", server.url)
    assert main(["token", "create", "ci", "--grant", "pay:read", "--json", *where]) == 0
    made = json.loads(capsys.readouterr().out)
    assert main(["token", "list", *where]) == 0
    assert made["id"] in capsys.readouterr().out
    assert main(["token", "revoke", made["id"], *where]) == 0
    assert main(["audit", "list", *where]) == 0
    assert "token.revoked" in capsys.readouterr().out
    assert main(["audit", "verify", "--json", *where]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["ok"], last["entries"], last["broken_at"]) == (True, 4, None)  # with the link for the first admin
    anchor = f"{last['entries']}:{last['head']}"
    assert main(["token", "create", "later", "--grant", "pay:read", *where]) == 0
    assert main(["audit", "verify", "--anchor", anchor, *where]) == 0
    assert main(["audit", "verify", "--anchor", f"3:{'0' * 64}", *where]) == 1


@pytest.mark.slow
def test_a_log_without_entries_is_whole(serve, capsys):
    assert main(["audit", "verify", "--json", "--server", serve().url]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["ok"], last["entries"], last["broken_at"]) == (True, 0, None)
