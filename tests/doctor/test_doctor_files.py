"""What the doctor finds wrong with files, folders and profiles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import herz
from herz.cli.main import main
from herz.sources import urls

EXPOSED = "management: {endpoints: {web: {exposure: {include: [health, info, refresh]}}}}\n"


def test_a_healthy_project_has_no_findings(project, doctor):
    (project / "application.yml").write_text(EXPOSED + "db: {pool: 5, url: '${HOME}/db'}\n")
    assert doctor() == (0, [])


def test_a_healthy_project_with_store_profile_and_last_good_has_no_findings(project, doctor, capsys):
    (project / "application.yml").write_text(
        EXPOSED + "herz: {config: {last-good: state/last-good, watch: {paths: ['classpath:/']}}}\n"
    )
    (project / "application-prod.yml").write_text("db: {pool: 9}\n")
    assert main(["set", "a=1", "--store", "sqlite:///herz.db#pay"]) == 0
    capsys.readouterr()
    assert doctor("-s", "application.yml", "-s", "sqlite:///herz.db#pay", "--profile", "prod") == (0, [])


def test_a_loaded_file_that_no_path_covers_comes_with_the_entry_to_add(project, doctor):
    (project / "custom").mkdir()
    (project / "custom" / "extra.yml").write_text("a: 1\n")
    (project / "application.yml").write_text(
        EXPOSED + "herz: {config: {import: [custom/extra.yml], watch: {paths: ['classpath:/application.yml']}}}\n"
    )
    ran = doctor()
    found = ran.of("not-watched")
    assert (ran.status, found["severity"], found["where"]) == (1, "warning", "custom/extra.yml")
    assert "add classpath:/custom/ to herz.config.watch.paths" in found["remedy"]
    (project / "application.yml").write_text(
        EXPOSED
        + "herz: {config: {import: [custom/extra.yml],"
        + " watch: {paths: ['classpath:/application.yml', 'classpath:/custom/']}}}\n"
    )
    assert doctor() == (0, [])


def test_watching_that_is_off_is_a_note_where_refresh_is_exposed(project, doctor):
    (project / "application.yml").write_text(EXPOSED + "herz: {config: {watch: {enabled: false}}}\n")
    ran = doctor()
    assert (ran.status, ran.of("watching-disabled")["severity"]) == (0, "note")


def test_watching_that_is_off_without_refresh_means_that_nothing_ever_arrives(project, doctor):
    (project / "application.yml").write_text("herz:\n  config:\n    watch:\n      enabled: false\n")
    ran = doctor()
    assert ran.status == 1
    assert ran.of("watching-disabled")["where"] == "application.yml:4"
    assert ran.of("refresh-not-exposed")["severity"] == "warning"


def test_refresh_that_is_not_exposed_comes_with_the_key_to_set(project, doctor):
    (project / "application.yml").write_text("a: 1\n")
    ran = doctor()
    found = ran.of("refresh-not-exposed")
    assert (ran.status, found["severity"]) == (0, "note")
    assert "management.endpoints.web.exposure.include: [health, info, refresh]" in found["remedy"]


def test_a_malformed_file_is_told_with_its_line_and_does_not_hide_the_others(project, doctor):
    (project / "conf").mkdir()
    (project / "conf" / "a.yml").write_text("ok: 1\nbroken: [\n")
    (project / "conf" / "b.yml").write_text("also: {broken\n")
    (project / "conf" / "c.yml").write_text(EXPOSED + "herz: {confg: {strict: true}}\n")
    ran = doctor("-s", "conf")
    assert ran.status == 1
    assert sorted(one["where"].partition(":")[0] for one in ran.findings if one["code"] == "malformed") == [
        "conf/a.yml",
        "conf/b.yml",
    ]
    assert ran.of("misspelled-key")["where"] == "conf/c.yml:2"


def test_an_unreadable_file_is_told(project, doctor):
    (project / "application.yml").write_text(EXPOSED)
    (project / "secret.yml").write_text("a: 1\n")
    (project / "secret.yml").chmod(0)
    command = [sys.executable, "-m", "herz.cli.main", "doctor", "--json", "-s", "application.yml", "-s", "secret.yml"]
    if os.geteuid() == 0:  # root may read everything, unless that right is taken away
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *command]
    source = str(Path(herz.__file__).parents[1])
    done = subprocess.run(command, env={"PYTHONPATH": source, "PATH": "/usr/bin:/bin"}, capture_output=True, timeout=30)
    assert done.returncode == 1, done.stderr
    ran = json.loads(done.stdout)["findings"]
    found = next(one for one in ran if one["code"] == "unreadable")
    assert found["where"] == "secret.yml"
    assert "permission" in found["remedy"]


def test_a_missing_file_is_an_error(project, doctor):
    ran = doctor("-s", "nothing.yml")
    assert (ran.status, ran.of("missing")["severity"]) == (1, "error")
    assert "optional" in ran.of("missing")["remedy"]


def test_a_missing_optional_file_is_a_note(project, doctor):
    (project / "application.yml").write_text(EXPOSED)
    ran = doctor("-s", "application.yml", "-s", "optional:more.yml")
    assert (ran.status, ran.of("optional-missing")["severity"]) == (0, "note")


def test_a_profile_without_a_file_is_told(project, doctor, monkeypatch):
    (project / "application.yml").write_text(EXPOSED)
    (project / "application-prod.yml").write_text("a: 1\n")
    monkeypatch.setenv("HERZ_PROFILES", "prd")
    ran = doctor()
    found = ran.of("profile-without-file")
    assert ran.status == 1
    assert "application-prod.yml" in found["what"]
    assert "application-prd.yml" in found["remedy"]


@pytest.mark.parametrize("source", ["application.yml", "."])
def test_a_file_of_an_inactive_profile_is_a_note(project, doctor, source):
    (project / "application.yml").write_text(EXPOSED)
    (project / "application-prod.yml").write_text("a: 1\n")
    ran = doctor("-s", source)
    assert (ran.status, ran.of("inactive-profile-file")["where"]) == (0, "application-prod.yml")
    assert "HERZ_PROFILES=prod" in ran.of("inactive-profile-file")["remedy"]
    assert doctor("-s", source, "--profile", "prod") == (0, [])


def test_two_files_that_disagree_are_told_with_the_winner(project, doctor):
    (project / "a.yml").write_text(EXPOSED + "db: {pool: 5, same: 1.0, only-here: 1}\n")
    (project / "b.yml").write_text("db: {pool: 9, same: 1}\n")
    ran = doctor("-s", "a.yml", "-s", "b.yml")
    found = ran.of("sources-disagree")
    assert (ran.status, found["where"]) == (1, "a.yml:2")
    assert "db.pool: b.yml says 9 (b.yml:1) and wins over 5" in found["what"]
    assert doctor("-s", "a.yml", "-s", "b.yml", "--ignore", "sources-disagree") == (0, [])


def test_secrets_on_which_two_files_disagree_are_not_shown(project, doctor):
    (project / "a.yml").write_text(EXPOSED + "password: hunter1\n")
    (project / "b.yml").write_text("password: hunter2\n")
    assert "hunter" not in json.dumps(doctor("-s", "a.yml", "-s", "b.yml").findings)


def test_a_store_above_a_file_may_say_something_else(project, doctor, capsys):
    (project / "application.yml").write_text(EXPOSED + "pool: 5\n")
    main(["set", "pool=9", "--store", "sqlite:///herz.db#pay"])
    capsys.readouterr()
    ran = doctor("-s", "application.yml", "-s", "sqlite:///herz.db#pay")
    assert (ran.status, ran.of("sources-disagree")["severity"]) == (0, "note")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("herz: {config: {watch: {pahts: [a]}}}", "herz.config.watch.paths"),
        ("herz: {confg: {watch: {enabled: true}}}", "herz.config.watch.enabled"),
        ("management: {endpoint: {refresh: {show-detail: always}}}", "management.endpoint.refresh.show-details"),
        ("managment: {endpoints: {web: {exposure: {include: [a]}}}}", "management.endpoints.web.exposure.include"),
    ],
)
def test_a_misspelled_key_of_herz_is_told_with_the_key_that_is_meant(project, doctor, text, meant):
    (project / "application.yml").write_text(text)
    ran = doctor("--ignore", "refresh-not-exposed")
    assert ran.status == 1
    assert f"did you mean {meant}?" in ran.of("misspelled-key")["what"]
    assert ran.of("misspelled-key")["where"] == "application.yml:1"


def test_keys_of_the_application_are_not_taken_for_misspelled_ones(project, doctor):
    (project / "application.yml").write_text(
        EXPOSED + "herz: {service: {timeout: 3s, watch: true}, profiles: {}}\nmanager: {endpoint: 1}\n"
    )
    assert doctor() == (0, [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: ${nobody.sets.this}\n", "nobody.sets.this"),
        ("a: ${b}\nb: ${c}\nc: ${b}\n", "b"),
    ],
)
def test_references_that_lead_nowhere_or_in_a_circle_are_told(project, doctor, text, said):
    (project / "application.yml").write_text(EXPOSED + text)
    ran = doctor()
    found = ran.of("reference")
    assert (ran.status, found["severity"]) == (1, "error")
    assert said in found["what"] + found["where"]


def test_a_reference_at_fault_does_not_hide_the_rest(project, doctor):
    (project / "application.yml").write_text("a: ${nobody}\nherz: {config: {watch: {pahts: [x]}}}\n")
    assert {"reference", "misspelled-key"} <= set(doctor().codes)


def test_an_option_of_herz_that_cannot_be_used_is_told_with_its_place(project, doctor):
    (project / "application.yml").write_text(EXPOSED + "herz:\n  config:\n    watch:\n      enabled: perhaps\n")
    found = doctor().of("malformed-option")
    assert found["where"] == "application.yml:5"


def test_a_secret_in_a_file_that_others_may_read_is_a_note(project, doctor):
    (project / "application.yml").write_text(EXPOSED + "db: {password: hunter2}\n")
    ran = doctor()
    assert (ran.status, ran.of("readable-secrets")["severity"]) == (0, "note")
    assert "hunter2" not in json.dumps(ran.findings)
    (project / "application.yml").chmod(0o600)
    assert doctor() == (0, [])


def test_a_reference_to_a_secret_may_be_read_by_anybody(project, doctor):
    (project / "application.yml").write_text(EXPOSED + "db: {password: '${HOME}'}\n")
    assert doctor() == (0, [])


def test_an_extra_that_is_not_installed_comes_with_the_pip_line(project, doctor, monkeypatch):
    # The real table with a scheme whose client is really not installed here.
    monkeypatch.setitem(urls.SCHEMES, "consul", urls.Scheme("herz_consul_client", "ConsulSource", "consul"))
    (project / "application.yml").write_text(EXPOSED)
    ran = doctor("-s", "application.yml", "-s", "consul://127.0.0.1/pay")
    assert ran.status == 1
    assert "pip install 'herz[consul]'" in ran.of("extra-not-installed")["remedy"]


def test_an_unknown_scheme_is_told_without_its_password(project, doctor):
    (project / "application.yml").write_text(EXPOSED)
    ran = doctor("-s", "application.yml", "-s", "gopher://me:hunter2@host/x")
    assert ran.of("unusable-source")["severity"] == "error"
    assert "hunter2" not in json.dumps(ran.findings)


def test_what_is_found_is_told_to_people_as_well(project, doctor, capsys):
    (project / "application.yml").write_text("a: [\n")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "error  application.yml:" in out
    assert "→" in out
    assert "1 error" in out
