"""What the doctor finds wrong with stores, the last-good copy, the environment and the system."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from herz import Herz
from herz.app.wanted import Wanted
from herz.cli.doctor.command import _heading, _report
from herz.cli.doctor.examination import Examination, examine
from herz.cli.doctor.system import check, kind_of, mounted
from herz.cli.main import main

EXPOSED = "management: {endpoints: {web: {exposure: {include: [health, info, refresh]}}}}\n"
STORE = "sqlite:///herz.db#pay"


@pytest.fixture
def store(project, capsys):
    (project / "application.yml").write_text(EXPOSED)
    for value in range(3):
        assert main(["set", f"pool={value}", "--store", STORE]) == 0
    capsys.readouterr()
    return project / "herz.db"


def test_a_store_that_is_not_there_is_told_and_not_made(project, doctor):
    ran = doctor("-s", STORE)
    assert (ran.status, ran.of("missing")["severity"]) == (1, "error")
    assert not (project / "herz.db").exists()


def test_a_store_that_is_no_database_is_told(project, doctor):
    (project / "herz.db").write_bytes(b"this is no database, whatever its name says" * 100)
    (project / "herz.db").chmod(0o600)
    ran = doctor("-s", STORE)
    assert (ran.status, ran.of("store-corrupt")["severity"]) == (1, "error")
    assert "backup" in ran.of("store-corrupt")["remedy"]


def test_a_value_that_was_damaged_inside_the_store_is_told(store, doctor):
    db = sqlite3.connect(store)
    db.execute("UPDATE log SET value = x'39' WHERE revision = 3 AND key = CAST('/config/pay/pool' AS BLOB)")
    db.commit()
    db.close()
    ran = doctor("-s", "application.yml", "-s", STORE)
    assert ran.status == 1
    assert any("checksum" in one["what"] for one in ran.findings if one["code"] == "store-corrupt")


def test_a_store_that_others_may_read_is_told(store, doctor):
    store.chmod(0o644)
    ran = doctor("-s", "application.yml", "-s", STORE)
    assert (ran.status, ran.codes) == (1, ["store-readable"])
    assert "chmod 600" in ran.of("store-readable")["remedy"]


def test_a_store_that_went_back_behind_what_was_in_force_is_told(store, project, doctor, capsys):
    (project / "application.yml").write_text(EXPOSED + "herz: {config: {last-good: last-good}}\n")
    _run_until_last_good(project, "application.yml", STORE)
    for file in project.glob("herz.db*"):
        file.unlink()
    assert main(["set", "pool=0", "--store", STORE]) == 0
    capsys.readouterr()
    assert doctor("-s", "application.yml", "-s", STORE).of("revision-went-back")["severity"] == "error"


def test_a_store_that_may_not_be_written_is_told_with_what_to_grant(store, project, doctor_without_rights):
    """Even a reader writes beside it: SQLite's -shm file."""
    store.chmod(0o400)
    ran = doctor_without_rights("-s", "application.yml", "-s", STORE)
    found = ran.of("store-not-writable")
    assert (found["severity"], found["where"]) == ("warning", str(store))
    assert found["remedy"] == f"grant write access to {store}"
    store.chmod(0o600)
    project.chmod(0o500)
    try:
        ran = doctor_without_rights("-s", "application.yml", "-s", STORE)
    finally:
        project.chmod(0o700)
    assert "its folder may not be written" in ran.of("store-not-writable")["what"]


@pytest.mark.slow
def test_a_store_that_cannot_be_asked_is_told(store, project, doctor):
    """Another program holds it locked longer than anybody waits."""
    (project / "application.yml").write_text(EXPOSED + "herz: {config: {last-good: last-good}}\n")
    _run_until_last_good(project, "application.yml", STORE)
    locked = sqlite3.connect(store, isolation_level=None)
    try:
        locked.execute("PRAGMA locking_mode = EXCLUSIVE")
        locked.execute("BEGIN EXCLUSIVE")
        locked.execute("CREATE TABLE other (a)")
        ran = doctor("-s", "application.yml", "-s", STORE)
    finally:
        locked.close()
    assert (ran.status, ran.of("store-unusable")["severity"]) == (1, "error")
    assert ran.of("store-unusable")["where"].endswith("herz.db")


def _run_until_last_good(project: Path, *sources: str) -> None:
    """A real application, run until its copy is on the disk."""
    with Herz(*sources):
        deadline = time.monotonic() + 10
        while not (project / "last-good").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert (project / "last-good").exists()


@pytest.fixture
def copied(project):
    (project / "application.yml").write_text(EXPOSED + "pool: 5\nherz: {config: {last-good: last-good}}\n")
    _run_until_last_good(project, "application.yml")
    return project / "last-good"


def test_a_fresh_last_good_copy_is_no_finding(copied, doctor):
    assert doctor() == (0, [])


def test_a_damaged_last_good_copy_is_told(copied, doctor):
    copied.write_bytes(copied.read_bytes().replace(b"5", b"6"))
    ran = doctor()
    assert (ran.status, ran.codes) == (1, ["last-good-damaged"])


def test_a_last_good_copy_that_is_behind_is_a_note(copied, project, doctor):
    (project / "application.yml").write_text(EXPOSED + "pool: 9\nherz: {config: {last-good: last-good}}\n")
    ran = doctor()
    assert (ran.status, ran.codes) == (0, ["last-good-stale"])
    assert "application.yml" in ran.of("last-good-stale")["what"]


def test_a_last_good_copy_that_others_may_read_is_told(copied, doctor):
    copied.chmod(0o644)
    assert doctor().of("last-good-readable")["severity"] == "warning"


def test_a_last_good_copy_that_cannot_be_written_is_told_with_the_folder(project, doctor_without_rights):
    (project / "copies").mkdir(mode=0o500)
    text = EXPOSED + "herz: {config: {last-good: copies/last-good}}\n"
    (project / "application.yml").write_text(text)
    ran = doctor_without_rights()
    found = ran.of("last-good-not-writable")
    assert (found["severity"], found["where"]) == ("warning", "copies/last-good")
    assert str(project / "copies") in found["what"]
    assert "herz.config.last-good" in found["remedy"]


def test_a_misspelled_variable_is_told_with_the_one_that_is_meant(project, doctor, monkeypatch):
    (project / "application.yml").write_text(EXPOSED + "herz: {service: {timeout: 3s}}\n")
    monkeypatch.setenv("HERZ__SERVCE__TIMEOUT", "5s")
    ran = doctor()
    assert ran.status == 1
    assert "HERZ__SERVICE__TIMEOUT" in ran.of("misspelled-variable")["remedy"]


def test_a_variable_that_names_a_key_of_its_own_is_no_finding(project, doctor, monkeypatch):
    (project / "application.yml").write_text(EXPOSED + "herz: {service: {timeout: 3s}}\n")
    monkeypatch.setenv("HERZ__SERVICE__TIMEOUT", "5s")
    monkeypatch.setenv("SOMETHING__ELSE", "1")
    assert doctor() == (0, [])


def test_one_underscore_where_two_are_needed_is_told(project, doctor, monkeypatch):
    (project / "application.yml").write_text(EXPOSED + "herz: {service: {max-retries: 3}}\n")
    monkeypatch.setenv("HERZ_SERVICE_MAX_RETRIES", "5")
    ran = doctor()
    assert (ran.status, ran.of("variable-not-read")["severity"]) == (1, "warning")
    assert "HERZ__SERVICE__MAX_RETRIES" in ran.of("variable-not-read")["remedy"]


def test_a_variable_of_somebody_else_that_sounds_like_a_key_is_a_note(project, doctor, monkeypatch):
    (project / "application.yml").write_text(EXPOSED + "java: {home: /opt}\n")
    monkeypatch.setenv("JAVA_HOME", "/usr/lib/jvm")
    ran = doctor()
    assert (ran.status, ran.of("variable-not-read")["severity"]) == (0, "note")


def test_a_misspelled_variable_of_herz_itself_is_told(project, doctor, monkeypatch):
    (project / "application.yml").write_text(EXPOSED)
    monkeypatch.setenv("HERZ_PROFILE", "prod")
    ran = doctor()
    assert ran.status == 1
    assert "HERZ_PROFILES" in ran.of("misspelled-variable")["remedy"]


def test_a_variable_that_cannot_be_a_key_is_told_and_hides_nothing_else(project, doctor, monkeypatch):
    (project / "application.yml").write_text(EXPOSED + "herz: {config: {watch: {pahts: [x]}}}\n")
    monkeypatch.setenv("HERZ____SERVICE", "1")
    ran = doctor()
    assert ran.of("malformed-variable")["where"] == "env:HERZ____SERVICE"
    assert "misspelled-key" in ran.codes


def _examined(*sources: str) -> Examination:
    return examine(
        Wanted(
            specs=sources,
            arguments=(),
            environment={},
            environment_prefix="",
            base_folders=(),
            profiles=None,
            secret_patterns=(),
            last_good=None,
        )
    )


def _proc(folder: Path, *, watches: int = 100_000, instances: int = 128, mounts: str = "") -> Path:
    (folder / "proc" / "sys" / "fs" / "inotify").mkdir(parents=True)
    (folder / "proc" / "self").mkdir()
    (folder / "proc" / "sys" / "fs" / "inotify" / "max_user_watches").write_text(f"{watches}\n")
    (folder / "proc" / "sys" / "fs" / "inotify" / "max_user_instances").write_text(f"{instances}\n")
    (folder / "proc" / "self" / "mountinfo").write_text(mounts)
    return folder / "proc"


def test_a_limit_on_watches_that_the_folders_exceed_is_told_with_the_sysctl(project):
    for index in range(20):
        (project / "conf" / f"f{index}").mkdir(parents=True)
        (project / "conf" / f"f{index}" / "a.yml").write_text(f"k{index}: 1\n")
    examination = _examined("conf/**")
    assert list(check(examination, _proc(project))) == []
    low = project / "low"
    low.mkdir()
    found = list(check(examination, _proc(low, watches=30)))
    assert [one.code for one in found] == ["few-inotify-watches"]
    assert "sysctl fs.inotify.max_user_watches=" in found[0].remedy


def test_files_and_stores_on_a_network_file_system_are_told(project, store):
    mounts = f"36 35 98:0 / {project} rw,noatime - nfs4 server:/export rw\n22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    found = {
        one.code: one.severity for one in check(_examined("application.yml", STORE), _proc(project, mounts=mounts))
    }
    assert found == {"network-file-system": "note", "store-on-network": "error"}


def test_the_file_system_of_this_machine_is_known_by_its_innermost_mount():
    mounts = mounted()
    assert kind_of("/proc/self/status", mounts)[0] == "proc"
    assert kind_of("/a/b c/d", [("/", "ext4"), ("/a/b c", "nfs"), ("/a/b", "xfs")]) == ("nfs", "/a/b c")


def test_the_report_says_how_many_checks_found_nothing(project):
    (project / "application.yml").write_text(EXPOSED)
    heading = _heading(_examined("application.yml"))
    assert "nothing is wrong: 15 checks" in _report(heading, [], 15)
