"""What the guard lets pass, what it refuses, and what it says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herz.errors import ConfigurationError, TlsError
from herz.tls.address import PLAIN, SECURE, addresses
from herz.tls.guard import check_endpoints, check_listen, check_redirect, endpoint_faults, listen_faults
from herz.tls.material import CLIENT, CODES, Labels, TlsMaterial

SRC = Path(__file__).parents[2] / "src"
REQUIRES = "HTTPS listen URL requires ClientTLSInfo to be non-empty"
HTTPS, HTTP = "https://127.0.0.1:2379", "http://127.0.0.1:2379"


def refused(urls, material=None, check=check_listen) -> TlsError:
    with pytest.raises(TlsError) as caught:
        check(urls, material)
    return caught.value


def test_an_https_address_without_material_is_refused_with_the_address_and_the_setting():
    error = refused([HTTPS])
    assert REQUIRES in str(error)
    assert HTTPS in str(error)
    assert "tls.cert" in str(error)
    assert "tls.key" in str(error)
    assert isinstance(error, ConfigurationError)


@pytest.mark.parametrize("scheme", sorted(SECURE))
def test_every_scheme_that_promises_encryption_is_held_to_it(scheme):
    assert REQUIRES in str(refused([f"{scheme}://127.0.0.1:1"]))


@pytest.mark.parametrize("scheme", sorted(PLAIN))
def test_plain_addresses_without_material_pass(scheme):
    assert check_listen([f"{scheme}://127.0.0.1:1"]) == ()


def test_https_with_complete_material_passes(good):
    assert check_listen([HTTPS], good) == ()
    assert check_listen([HTTPS], replace(good, client_auth=True)) == ()


def test_an_authority_alone_is_no_material_to_listen_with(good):
    assert REQUIRES in str(refused([HTTPS], TlsMaterial(ca=good.ca)))


def test_the_bad_address_is_found_wherever_it_stands_in_the_list():
    for place in range(3):
        urls = [HTTP] * 3
        urls[place] = "HTTPS://[::1]:2380"
        assert "https://[::1]:2380" in str(refused(urls))


def test_every_bad_address_is_named():
    error = refused(["https://a:1", "http://b:2", "https://c:3"])
    assert [one.split(": ", 1)[1].split()[0] for one in error.problems] == ["https://a:1", "https://c:3"]


@pytest.mark.parametrize("urls", [[HTTPS], [HTTP]], ids=["https", "http"])
def test_half_a_pair_is_refused_whatever_the_address(good, urls):
    assert "tls.key is not set" in str(refused(urls, TlsMaterial(cert=good.cert)))
    assert "tls.cert is not set" in str(refused(urls, TlsMaterial(key=good.key)))


def test_a_key_of_another_certificate_is_refused(good, other):
    assert "does not belong" in str(refused([HTTPS], replace(good, key=other.key)))


def test_an_encrypted_key_is_refused_without_asking_at_the_terminal(good, tmp_path):
    key = tmp_path / "encrypted.key"
    subprocess.run(
        ["openssl", "ec", "-in", good.key, "-aes128", "-passout", "pass:word", "-out", key],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    assert "encrypted" in str(refused([HTTPS], replace(good, key=str(key))))


def test_files_that_are_missing_or_no_pem_are_refused_by_name(good, tmp_path):
    (tmp_path / "text.pem").write_text("not at all")
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for change, name in product(("cert", "key", "ca"), ("nowhere.pem", "text.pem", "broken.pem", "")):
        path = str(tmp_path / name) if name else str(tmp_path)
        error = refused([HTTPS], replace(good, **{change: path}))
        assert path in str(error)
        assert f"tls.{change}" in str(error)


CHECK = """
import sys
from herz.tls.guard import check_listen
from herz.tls.material import TlsMaterial
check_listen(["https://a:1"], TlsMaterial(*sys.argv[1:]))
"""


def test_a_file_that_may_not_be_read_is_refused(good, tmp_path):
    key = tmp_path / "closed.key"
    key.write_bytes(Path(good.key).read_bytes())
    key.chmod(0)
    command = [sys.executable, "-c", CHECK, good.cert, str(key)]
    if os.geteuid() == 0:  # root's privilege to pass file modes is taken away
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *command]
    ran = subprocess.run(command, env={"PYTHONPATH": str(SRC), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert ran.returncode == 1
    assert f"tls.key: Permission denied ({key})" in ran.stderr


def test_an_expired_certificate_is_refused_with_its_day(expired):
    error = refused([HTTPS], expired)
    assert "expired on 2" in str(error)
    assert expired.cert in str(error)


def test_a_certificate_of_tomorrow_is_refused(early):
    assert "not valid before" in str(refused([HTTPS], early))


def test_dates_are_judged_by_the_clock_that_is_passed_in(good, expired):
    week = 7 * 86400.0
    good, expired = (replace(one, ca=None) for one in (good, expired))
    assert check_listen([HTTPS], expired, now=lambda: time.time() - 2.5 * week) == ()
    with pytest.raises(TlsError, match="expired"):
        check_listen([HTTPS], good, now=lambda: time.time() + 40 * 86400.0)
    codes = [one.code for one in check_listen([HTTPS], good, now=lambda: time.time() + 3 * week)]
    assert codes == ["certificate-expires-soon"]


def test_an_expired_certificate_in_the_chain_is_found(good, expired, tmp_path):
    chain = tmp_path / "chain.crt"
    chain.write_bytes(Path(good.cert).read_bytes() + Path(expired.cert).read_bytes())
    assert "expired" in str(refused([HTTPS], replace(good, cert=str(chain))))


def test_an_old_authority_beside_a_valid_one_is_no_fault(good, expired, tmp_path):
    bundle = tmp_path / "bundle.crt"
    bundle.write_bytes(Path(expired.cert).read_bytes() + Path(good.ca).read_bytes())
    assert check_listen([HTTPS], replace(good, ca=str(bundle))) == ()
    assert "expired" in str(refused([HTTPS], replace(good, ca=expired.cert)))


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o640, False), (0o644, True), (0o660, True)])
def test_a_key_that_others_may_use_is_a_warning(good, tmp_path, mode, told):
    key = tmp_path / "shared.key"
    key.write_bytes(Path(good.key).read_bytes())
    key.chmod(mode)
    warnings = check_listen([HTTPS], replace(good, key=str(key)))
    assert [one.code for one in warnings] == ["tls-key-readable"] * told


def test_client_authentication_needs_an_authority(good):
    error = refused([HTTPS], replace(good, ca=None, client_auth=True))
    assert "tls.client-auth" in str(error)
    assert "tls.ca" in str(error)


def test_plain_addresses_beside_material_are_a_warning_each(good):
    warnings = check_listen([HTTP, HTTPS, "http://10.0.0.1:80"], good)
    assert [(one.code, one.severity) for one in warnings] == [("plain-beside-tls", "warning")] * 2
    assert "http://10.0.0.1:80" in warnings[1].what
    assert [one.code for one in check_listen([HTTP], good)] == ["plain-beside-tls"]


@pytest.mark.parametrize("url", ["127.0.0.1:2379", "ftp://a:1", "https://a:port", "https://[::1", ""])
def test_what_is_no_address_is_refused(url, good):
    assert refused([HTTP, url], good).problems


def test_credentials_never_enter_a_message():
    for url in ("https://ada:hunter2@a:1", "ada:hunter2@a:1", "ftp://ada:hunter2@a:1", "https://ada:hunter2@a:x"):
        assert "hunter2" not in str(refused([url]))


# --- clients


def test_an_encrypted_endpoint_without_an_authority_trusts_the_systems():
    assert check_endpoints([HTTPS]) == ()
    assert check_endpoints(["etcd+tls://a:2379,b:2379/config/pay"]) == ()


def test_a_list_of_plain_and_encrypted_endpoints_is_refused():
    error = refused([HTTPS, "http://10.0.0.2:2379"], check=check_endpoints)
    assert "http://10.0.0.2:2379" in str(error)
    assert "https://10.0.0.2:2379" in str(error)


def test_material_with_a_plain_endpoint_is_refused(good):
    for material in (good, TlsMaterial(ca=good.ca)):
        assert "etcd+tls://a:1" in str(refused(["etcd://a:1/config"], material, check_endpoints))


def test_a_clients_material_is_examined_as_a_listeners(good, other, expired):
    assert check_endpoints([HTTPS], good) == ()
    assert "expired" in str(refused([HTTPS], expired, check_endpoints))
    assert "does not belong" in str(refused([HTTPS], replace(good, key=other.key), check_endpoints))


def test_a_server_cannot_send_us_from_encryption_to_plain_text():
    check_redirect("https://a:1", "https://b:2")
    check_redirect("http://a:1", "https://b:2")
    check_redirect("http://a:1", "http://b:2")
    with pytest.raises(TlsError, match="http://b:2"):
        check_redirect("etcd+tls://a:1", "http://b:2")


# --- laws

SCHEMES = st.sampled_from(sorted(PLAIN | SECURE))
URLS = st.lists(st.builds("{}://h{}:1".format, SCHEMES, st.integers(0, 9)), min_size=1, max_size=5)


@given(URLS)
def test_without_material_listening_passes_exactly_when_nothing_promises_encryption(urls):
    wrong = {fault.where for fault in listen_faults(urls, TlsMaterial(), labels=Labels())}
    assert wrong == {f"listen {one.url}" for one in addresses(urls) if one.secure}


@given(URLS)
def test_endpoints_pass_exactly_when_they_are_all_alike(urls):
    mixed = len({one.secure for one in addresses(urls)}) == 2
    assert bool(list(endpoint_faults(urls, TlsMaterial(), labels=CLIENT))) == mixed


@given(URLS)
def test_the_other_spelling_of_an_address_is_one_and_leads_back(urls):
    for one in addresses(urls):
        turned = addresses([one.otherwise(not one.secure)])[0]
        assert turned.secure is not one.secure
        assert turned.otherwise(one.secure) == one.url


@given(st.text(max_size=40))
def test_no_text_is_taken_for_an_address_by_accident(text):
    faults = list(listen_faults([text], TlsMaterial(), labels=Labels()))
    assert {fault.code for fault in faults} <= CODES
    if not faults:
        assert not any(one.secure for one in addresses([text]))
