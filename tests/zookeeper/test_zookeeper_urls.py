"""What a ZooKeeper URL may say, and what is wrong with others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from herz.errors import TlsError, UsageError
from herz.sources.urls import source_for
from herz.sources.zookeeper_url import place_of


def made(url: str) -> Any:
    return source_for(url)


def test_an_ensemble_is_a_list_of_hosts_with_the_usual_port():
    place = place_of("zookeeper://h1:2182,h2,[::1]:2183/config/pay", 15.0)
    assert place.ensemble.hosts == ("h1:2182", "h2:2181", "[::1]:2183")
    assert (place.path, place.form, place.proof_s) == ("/config/pay", None, 15.0)


def test_credentials_are_decoded_and_never_shown():
    source = made("zookeeper://ada:p%40ss%2Fword@h1/config/pay")
    assert (source.ensemble.user, source.ensemble.password) == ("ada", "p@ss/word")
    assert source.origin.name == "zookeeper://h1:2181/config/pay"
    assert "p@ss" not in repr(source.ensemble)


def test_the_ending_of_the_path_or_the_query_names_the_format_of_the_document_there():
    assert place_of("zookeeper://h/config/pay/application.yml", 15.0).form == "yaml"
    assert place_of("zookeeper://h/config/pay?format=json", 15.0).form == "json"


def test_time_limits_are_in_the_query():
    place = place_of("zookeeper://h/c?session=4&dial=1&call=2.5&proof=9s", 15.0)
    assert (place.ensemble.session_s, place.ensemble.dial_s, place.ensemble.call_s, place.proof_s) == (4, 1, 2.5, 9)


@pytest.mark.parametrize(
    "url",
    [
        "zookeeper:///config",
        "zookeeper://h:port/config",
        "zookeeper://h:70000/config",
        "zookeeper://ada@h/config",
        "zookeeper://ada:s3cret@h/config?auth=plain",
        "zookeeper://ada:s3cret@h/config?format=ini",
        "zookeeper://ada:s3cret@h/config?proof=soon",
        "zookeeper://ada:s3cret@h/config?verify=false",
        "zookeeper://ada:s3cret@h/config?proof=1&proof=2",
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_without_showing_its_password(url):
    with pytest.raises(UsageError) as caught:
        source_for(url)
    assert "s3cret" not in str(caught.value)


def test_tls_material_for_a_plain_address_is_refused():
    with pytest.raises(TlsError):
        source_for("zookeeper://h/config?ca=/etc/ca.pem")


def test_importing_the_url_table_imports_no_kazoo():
    program = "import sys, herz, herz.sources.urls, herz.testing.zookeeper; print('kazoo' in sys.modules)"
    sources = str(Path(__file__).parents[2] / "src")
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": sources}, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
