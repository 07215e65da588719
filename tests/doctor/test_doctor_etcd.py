"""What the doctor finds wrong with the settings of an etcd server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from herz.cli.main import main
from herz.testing.certificates import Authority
from herz.tls.material import TlsMaterial

SRC = Path(__file__).parents[2] / "src"
REQUIRES = "HTTPS listen URL requires ClientTLSInfo to be non-empty"
SNAPSHOTS = "--snapshot-count=10000"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def tls(authority) -> TlsMaterial:
    return authority.issue("server")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in [name for name in os.environ if name.startswith("ETCD_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def server(doctor):
    def visit(*flags: str, snapshots: str = SNAPSHOTS):
        return doctor("--etcd-args", " ".join([*flags, snapshots]))

    return visit


def test_the_defaults_of_etcd_are_no_fault(server):
    assert server() == (0, [])


@pytest.mark.parametrize(
    "flags",
    [
        "--listen-client-urls https://0.0.0.0:2379",
        "--listen-client-urls=https://0.0.0.0:2379",
        "-listen-client-urls https://0.0.0.0:2379",
        "etcd --name a --listen-client-urls 'https://0.0.0.0:2379' --data-dir /d",
        "ETCD_LISTEN_CLIENT_URLS=https://0.0.0.0:2379 /usr/bin/etcd",
        "--listen-client-urls http://127.0.0.1:2379,https://0.0.0.0:2379",
        "--name a \\\n  --listen-client-urls https://0.0.0.0:2379 \\\n  --pre-vote",
        "--pre-vote --listen-client-urls https://0.0.0.0:2379",
    ],
)
def test_https_without_material_is_an_error_however_it_is_written(doctor, flags):
    ran = doctor("--etcd-args", flags)
    found = ran.of("https-without-tls")
    assert (ran.status, found["severity"]) == (1, "error")
    assert REQUIRES in found["what"]
    assert "https://0.0.0.0:2379" in found["what"]
    assert "--cert-file" in found["remedy"]


def test_variables_of_the_environment_count_and_flags_win(doctor, monkeypatch):
    monkeypatch.setenv("ETCD_LISTEN_CLIENT_URLS", "https://127.0.0.1:2379")
    ran = doctor("--etcd-args", "--name a")
    assert "env:ETCD_LISTEN_CLIENT_URLS" in ran.of("https-without-tls")["where"]
    assert doctor("--etcd-args", "--listen-client-urls http://127.0.0.1:2379").status == 0


def test_complete_material_passes(server, tls):
    flags = [f"--cert-file={tls.cert}", "--key-file", tls.key]
    urls = ["--listen-client-urls https://127.0.0.1:2379", "--advertise-client-urls https://localhost:2379"]
    assert server(*urls, *flags) == (0, [])
    assert server(*urls, *flags, "--client-cert-auth", f"--trusted-ca-file={tls.ca}") == (0, [])
    assert server(*urls, "--auto-tls") == (0, [])


@pytest.mark.parametrize("missing", ["key", "cert"])
def test_half_a_pair_is_an_error(server, tls, missing):
    flag, path = ("--cert-file", tls.cert) if missing == "key" else ("--key-file", tls.key)
    ran = server("--listen-client-urls https://127.0.0.1:2379", flag, path)
    assert ran.status == 1
    assert ran.of("tls-incomplete")["remedy"] == f"set --{missing}-file"


def test_client_authentication_without_an_authority_is_an_error(server, tls):
    ran = server(
        "--listen-client-urls https://127.0.0.1:2379 --advertise-client-urls https://127.0.0.1:2379",
        f"--cert-file={tls.cert} --key-file={tls.key} --client-cert-auth",
    )
    assert (ran.status, ran.codes) == (1, ["client-auth-without-ca"])
    assert "--trusted-ca-file" in ran.of("client-auth-without-ca")["remedy"]


def test_material_beside_a_plain_address_is_a_warning(server, tls):
    ran = server(f"--cert-file={tls.cert} --key-file={tls.key}")
    assert (ran.status, set(ran.codes)) == (1, {"plain-beside-tls"})


def test_expired_certificates_wrong_keys_and_missing_files_are_errors(server, authority, tls):
    now = datetime.now(UTC)
    old = authority.issue("old", begins=now - timedelta(9), ends=now - timedelta(1))
    url = "--listen-client-urls=https://127.0.0.1:2379 --advertise-client-urls=https://127.0.0.1:2379"
    assert server(url, f"--cert-file={old.cert} --key-file={old.key}").codes == ["certificate-expired"]
    assert "tls-key-mismatch" in server(url, f"--cert-file={old.cert} --key-file={tls.key}").codes
    assert "tls-file" in server(url, f"--cert-file=/nowhere.crt --key-file={tls.key}").codes


@pytest.mark.parametrize(
    ("listening", "advertised", "remedy"),
    [("http", "https", "http://localhost:2379"), ("https", "http", "https://localhost:2379")],
)
def test_an_advertised_address_that_is_not_served_so_is_an_error(server, tls, listening, advertised, remedy):
    ran = server(
        f"--listen-client-urls {listening}://127.0.0.1:2379 --advertise-client-urls {advertised}://localhost:2379",
        f"--cert-file={tls.cert} --key-file={tls.key}",
    )
    assert ran.status == 1
    assert ran.of("etcd-advertised")["severity"] == "error"
    assert remedy in ran.of("etcd-advertised")["remedy"]


def test_a_certificate_that_lacks_the_advertised_name_is_a_warning(server, tls):
    ran = server(
        "--listen-client-urls https://127.0.0.1:2379 --advertise-client-urls https://db.example:2379",
        f"--cert-file={tls.cert} --key-file={tls.key}",
    )
    assert (ran.status, ran.codes) == (1, ["etcd-certificate-name"])


def test_an_address_that_others_reach_in_plain_text_is_a_warning(server):
    ran = server("--listen-client-urls http://0.0.0.0:2379")
    assert (ran.status, ran.codes) == (1, ["etcd-plain-exposed"])
    assert server("--listen-client-urls http://[::1]:2379,unix://localhost:1").status == 0


def test_an_address_that_asks_nobody_for_a_certificate_is_a_note(server, tls):
    ran = server(
        "--listen-client-urls https://10.0.0.1:2379 --advertise-client-urls https://localhost:2379",
        f"--cert-file={tls.cert} --key-file={tls.key}",
    )
    assert (ran.status, ran.codes) == (0, ["etcd-no-client-auth"])


def test_peers_are_held_to_the_same(server, tls):
    ran = server("--listen-peer-urls https://127.0.0.1:2380")
    assert "HTTPS listen URL requires PeerTLSInfo to be non-empty" in ran.of("https-without-tls")["what"]
    assert "--peer-cert-file" in ran.of("https-without-tls")["remedy"]
    assert "etcd-advertised" in ran.codes
    ran = server(
        "--listen-peer-urls https://127.0.0.1:2380 --initial-advertise-peer-urls https://127.0.0.1:2380",
        f"--peer-cert-file={tls.cert} --peer-key-file={tls.key} --peer-client-cert-auth",
    )
    assert "--peer-trusted-ca-file" in ran.of("client-auth-without-ca")["remedy"]


def test_metrics_addresses_use_the_material_of_the_clients(server):
    assert REQUIRES in server("--listen-metrics-urls https://127.0.0.1:2381").of("https-without-tls")["what"]


@pytest.mark.parametrize(
    ("count", "status", "severity"), [("10001", 1, "warning"), ("100000", 1, "warning"), (None, 0, "note")]
)
def test_a_large_snapshot_count_is_told(server, count, status, severity):
    ran = server(snapshots="" if count is None else f"--snapshot-count {count}")
    assert (ran.status, ran.of("etcd-snapshot-count")["severity"]) == (status, severity)
    assert server(snapshots="--snapshot-count=9999").findings == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--listen-client-urls", "no value"),
        ("--client-cert-auth true", "--client-cert-auth=true"),
        ("--client-cert-auth=perhaps", "neither true nor false"),
        ("--certfile /x --key-file /y", "--cert-file"),
        ("--listen-client-url https://0.0.0.0:1", "--listen-client-urls"),
        ("--snapshot-count=many", "no number"),
        ("--name a stray", "'stray' is no flag"),
    ],
)
def test_what_etcd_would_refuse_is_an_error(doctor, flags, said):
    ran = doctor("--etcd-args", flags)
    assert ran.status == 1
    found = [one for one in ran.findings if one["code"] == "etcd-setting-refused"]
    assert any(said in one["what"] + one["remedy"] for one in found)


def test_flags_that_cannot_be_split_are_a_usage_error(project, capsys):
    assert main(["doctor", "--etcd-args", "--name 'a"]) == 2
    assert "quot" in capsys.readouterr().err


FILE = """\
name: a
listen-client-urls: https://0.0.0.0:2379
snapshot-count: 10000
client-transport-security:
  {cert}
  client-cert-auth: true
listen-peer-urls: https://127.0.0.1:2380
initial-advertise-peer-urls: https://127.0.0.1:2380
peer-transport-security:
  auto-tls: true
"""


def test_a_configuration_file_is_held_to_the_same(project, doctor):
    (project / "etcd.yml").write_text(FILE.format(cert="auto-tls: false"))
    ran = doctor("--etcd-config", "etcd.yml")
    assert ran.status == 1
    assert REQUIRES in ran.of("https-without-tls")["what"]
    assert "client-transport-security.cert-file" in ran.of("https-without-tls")["remedy"]
    assert "client-transport-security.trusted-ca-file" in ran.of("client-auth-without-ca")["remedy"]


def test_a_complete_configuration_file_passes(project, doctor, tls):
    material = f"cert-file: {tls.cert}\n  key-file: {tls.key}\n  trusted-ca-file: {tls.ca}"
    (project / "etcd.yml").write_text(
        FILE.format(cert=material) + "advertise-client-urls: https://localhost:2379\nlog-level: info\n"
    )
    assert doctor("--etcd-config", "etcd.yml") == (0, [])


def test_material_at_the_top_of_the_file_is_told_because_etcd_overlooks_it(project, doctor, tls):
    (project / "etcd.yml").write_text(f"snapshot-count: 1000\ncert-file: {tls.cert}\nkey-file: {tls.key}\n")
    ran = doctor("--etcd-config", "etcd.yml")
    assert (ran.status, ran.codes) == (1, ["etcd-setting-ignored"] * 2)
    assert ran.findings[0]["where"] == "etcd.yml:2"
    assert "client-transport-security" in ran.findings[0]["remedy"]


def test_flags_beside_a_configuration_file_are_told_because_etcd_overlooks_them(project, doctor):
    (project / "etcd.yml").write_text("snapshot-count: 1000\n")
    ran = doctor("--etcd-args", "--config-file etcd.yml --listen-client-urls https://0.0.0.0:1")
    assert (ran.status, ran.codes) == (1, ["etcd-setting-ignored"])
    assert "--listen-client-urls" in ran.of("etcd-setting-ignored")["what"]


@pytest.mark.parametrize("text", ["a: [", "listen-client-urls: [http://127.0.0.1:2379]\n", "- a\n"])
def test_a_configuration_file_that_etcd_cannot_read_is_an_error(project, doctor, text):
    (project / "etcd.yml").write_text(text)
    ran = doctor("--etcd-config", "etcd.yml")
    assert (ran.status, "etcd-setting-refused" in ran.codes) == (1, True)


def test_a_configuration_file_that_is_not_there_is_a_usage_error(project, capsys):
    assert main(["doctor", "--etcd-config", "nowhere.yml"]) == 2
    assert "nowhere.yml" in capsys.readouterr().err


def test_an_ignored_code_is_left_out(doctor):
    ran = doctor("--etcd-args", f"--listen-client-urls http://0.0.0.0:1 {SNAPSHOTS}", "--ignore", "etcd-plain-exposed")
    assert ran == (0, [])


def test_sources_are_examined_as_well_where_they_are_named(project, doctor, capsys):
    (project / "application.yml").write_text("herz: {config: {watch: {pahts: [x]}}}\n")
    assert doctor("--etcd-args", SNAPSHOTS) == (0, [])
    assert "misspelled-key" in doctor("--etcd-args", SNAPSHOTS, "-s", "application.yml").codes
    main(["doctor", "--etcd-args", SNAPSHOTS, "--json"])
    assert json.loads(capsys.readouterr().out)["checks"] == ["the etcd server's settings fit"]


def test_the_report_is_text_for_people(project, capsys):
    assert main(["doctor", "--etcd-args", SNAPSHOTS]) == 0
    assert "nothing is wrong: 1 check" in capsys.readouterr().out
    assert main(["doctor", "--etcd-args", "--listen-client-urls https://0.0.0.0:2379"]) == 1
    said = capsys.readouterr().out
    assert REQUIRES in said
    assert "→ set --cert-file and --key-file" in said


def test_a_real_process_ends_with_status_1(project):
    ran = subprocess.run(
        [sys.executable, "-m", "herz.cli.main", "doctor", "--etcd-args", "--listen-client-urls https://0.0.0.0:2379"],
        env={"PYTHONPATH": str(SRC), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, REQUIRES in ran.stdout) == (1, True)


@pytest.mark.skipif(shutil.which("etcd") is None, reason="no etcd here: apt-get install etcd-server")
@pytest.mark.parametrize(
    "flags",
    [
        "--listen-client-urls https://127.0.0.1:0 --advertise-client-urls https://127.0.0.1:0",
        "--certfile x",
        "--client-cert-auth true --name a",
        "--listen-client-urls",
        "--snapshot-count=many",
    ],
)
def test_what_is_told_as_an_error_a_real_etcd_refuses(project, doctor, flags):
    assert any(one["severity"] == "error" for one in doctor("--etcd-args", flags).findings)
    ran = subprocess.run(
        ["etcd", "--data-dir", project / "data", "--listen-peer-urls=http://127.0.0.1:0", *flags.split()],
        capture_output=True,
        timeout=20,
    )
    assert ran.returncode != 0
