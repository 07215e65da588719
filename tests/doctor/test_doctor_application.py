"""What the doctor finds wrong with the application: its models, its scope, values copied out of configuration."""

from __future__ import annotations

import pytest

from herz.cli.main import main

EXPOSED = "management: {endpoints: {web: {exposure: {include: [health, info, refresh]}}}}\n"

MODELS = """
from dataclasses import dataclass
from datetime import timedelta
from herz import Handle, Herz, Secret
herz = Herz("application.yml")

@herz.properties("herz.service")
@dataclass
class ServiceConfig:
    timeout: timedelta = timedelta(seconds=3)
    max_retries: int = 3
"""


@pytest.fixture
def healthy(project):
    (project / "application.yml").write_text(EXPOSED + "herz: {service: {timeout: 3s, max-retries: 5}}\n")
    return project


def test_a_healthy_application_has_no_findings(healthy, doctor, module):
    name = module(
        MODELS
        + """
@herz.refresh_scope
class Client:
    def __init__(self, config: ServiceConfig) -> None:
        self.timeout = config.timeout

class Service:
    def __init__(self, config: Handle[ServiceConfig], client: Handle[Client]) -> None:
        self.config, self.client = config, client

    def call(self) -> object:
        timeout = herz.get(ServiceConfig).timeout
        return timeout

if __name__ == "__main__":
    timeout = herz.get(ServiceConfig).timeout
"""
    )
    assert doctor("--app", name) == (0, [])


def test_the_sources_are_those_of_the_application(healthy, doctor, module):
    (healthy / "application.yml").rename(healthy / "settings.yml")
    name = module(MODELS.replace("application.yml", "settings.yml"))
    assert doctor("--app", name) == (0, [])


def test_an_application_that_cannot_be_imported_is_told_with_the_line(healthy, doctor, module):
    name = module("import nothing_of_that_name\n")
    ran = doctor("--app", name)
    found = ran.of("application-not-importable")
    assert ran.status == 1
    assert "nothing_of_that_name" in found["what"]
    assert found["where"].endswith(".py:1")


def test_an_attribute_that_is_no_herz_is_told(healthy, doctor, module):
    name = module("herz = 5\n")
    assert "int" in doctor("--app", name).of("application-not-importable")["what"]


def test_a_value_that_does_not_fit_its_model_is_told_with_its_line(healthy, doctor, module):
    (healthy / "application.yml").write_text(EXPOSED + "herz:\n  service:\n    timeout: soon\n")
    found = doctor("--app", module(MODELS)).of("does-not-fit")
    assert found["severity"] == "error"
    assert "herz.service.timeout" in found["what"]
    assert "application.yml:4" in found["what"]


def test_a_key_that_no_field_reads_is_told_with_the_nearest_name(healthy, doctor, module):
    (healthy / "application.yml").write_text(EXPOSED + "herz: {service: {max-retires: 5}}\n")
    found = doctor("--app", module(MODELS)).of("misspelled-key")
    assert "did you mean 'max_retries'" in found["what"]
    assert found["where"] == "application.yml:2"


def test_a_misspelled_variable_is_known_by_the_fields_of_the_models(healthy, doctor, module, monkeypatch):
    (healthy / "application.yml").write_text(EXPOSED)
    monkeypatch.setenv("HERZ__SERVCE__MAX_RETRIES", "1")
    assert "misspelled-variable" in doctor("--app", module(MODELS)).codes


def test_a_key_that_nobody_reads_is_a_note(healthy, doctor, module):
    (healthy / "application.yml").write_text(
        EXPOSED + "left: {over: 1}\nused: {by-name: 1}\nbase: 2\nherz: {service: {max-retries: '${base}'}}\n"
    )
    ran = doctor("--app", module(MODELS + "def by_name():\n    return herz.snapshot['used.by-name']\n"))
    assert (ran.status, ran.of("unread-key")["what"].partition(":")[0]) == (0, "left.over")


def test_a_secret_in_a_plain_field_is_told(healthy, doctor, module):
    name = module(
        MODELS
        + """
@herz.properties("db")
@dataclass
class Database:
    password: str = ""
    token: Secret = Secret("")
    max_tokens: int = 5
"""
    )
    ran = doctor("--app", name)
    assert ran.status == 1
    assert "password: Secret" in ran.of("plain-secret-field")["remedy"]


def test_what_nothing_provides_is_told(healthy, doctor, module):
    name = module(
        MODELS
        + """
@herz.refresh_scope
class Client:
    def __init__(self, missing: "NotDeclaredAnywhere") -> None: ...
"""
    )
    ran = doctor("--app", name)
    assert (ran.status, ran.of("unprovided")["severity"]) == (1, "error")


COPIES = {
    "TIMEOUT = herz.get(ServiceConfig).timeout": "TIMEOUT",
    "config = herz.get(ServiceConfig)": "config",
    "TIMEOUT = herz.snapshot['herz.service.timeout']": "TIMEOUT",
    "TIMEOUT = float(herz.snapshot.get('herz.service.timeout', 3)) * 2": "TIMEOUT",
    "class Settings:\n    timeout = herz.get(ServiceConfig).timeout": "Settings.timeout",
    "def call(timeout=herz.get(ServiceConfig).timeout): ...": "a default of call",
    "async def call(*, timeout=herz.get(ServiceConfig).timeout): ...": "a default of call",
    "class Client:\n    def __init__(self, c: ServiceConfig):\n        self.timeout = c.timeout": "Client.timeout",
    "class Client:\n    def __init__(self, config: 'ServiceConfig | None' = None):\n        self.config = config": (
        "Client.config"
    ),
    "class Client:\n    def __init__(self):\n        self.timeout = herz.get(ServiceConfig).timeout": "Client.timeout",
    "class Client:\n    def __init__(self, config: ServiceConfig):\n"
    "        seconds = config.timeout.total_seconds()\n        self.seconds = seconds * 2": "Client.seconds",
}


@pytest.mark.parametrize("code", COPIES)
def test_a_value_copied_out_of_configuration_is_possible_with_file_and_line(healthy, doctor, code):
    (healthy / "src").mkdir()
    text = MODELS + code + "\n"
    (healthy / "src" / "shop.py").write_text(text)
    ran = doctor("--code", "src")
    found = ran.of("copied-value")
    assert ran.status == 1
    assert found["what"].startswith(f"possible: {COPIES[code]} ")
    file, _, line = found["where"].partition(":")
    assert file == "src/shop.py"
    assert text.splitlines()[int(line) - 1] in code.splitlines()


def test_the_class_to_put_into_a_refresh_scope_is_named(healthy, doctor):
    (healthy / "shop.py").write_text(
        MODELS + "class Billing:\n    def __init__(self, config: ServiceConfig):\n        self.t = config.timeout\n"
    )
    assert "put Billing into a refresh scope" in doctor("--code", "shop.py").of("copied-value")["remedy"]


@pytest.mark.parametrize(
    "code",
    [
        "handle = herz.handle(ServiceConfig)",
        "timeout = lambda: herz.get(ServiceConfig).timeout",
        "defaults = ServiceConfig()",
        "cache = {}\nvalue = cache.get('timeout')",
        "def call():\n    return herz.get(ServiceConfig).timeout",
        "@herz.refresh_scope\nclass A:\n    def __init__(self, c: ServiceConfig):\n        self.t = c.timeout",
        "class A:\n    def __init__(self, c: ServiceConfig):\n        self.t = c.timeout\nherz.refresh_scope(A)",
        "class A:\n    def __init__(self, config: Handle[ServiceConfig]):\n        self.config = config",
        "class A:\n    def __init__(self, timeout: float):\n        self.timeout = timeout",
        "class A:\n    def __init__(self, config: ServiceConfig):\n        print(config.timeout)",
    ],
)
def test_code_that_follows_changes_is_no_finding(healthy, doctor, code):
    (healthy / "shop.py").write_text(MODELS + code + "\n")
    assert doctor("--code", "shop.py") == (0, [])


def test_models_of_one_file_are_known_in_another(healthy, doctor):
    (healthy / "src").mkdir()
    (healthy / "src" / "models.py").write_text(MODELS)
    (healthy / "src" / "a_client.py").write_text(
        "from models import ServiceConfig\n"
        "class C:\n    def __init__(self, c: ServiceConfig):\n        self.t = c.timeout\n"
    )
    assert doctor("--code", "src").of("copied-value")["where"] == "src/a_client.py:4"


def test_the_package_of_the_application_is_scanned(healthy, doctor, module):
    name = module("", "x.py").partition(":")[0]
    module("", f"{name}/__init__.py")
    module(MODELS, f"{name}/main.py")
    module(f"from {name}.main import herz, ServiceConfig\nT = herz.get(ServiceConfig).timeout\n", f"{name}/deep/er.py")
    ran = doctor("--app", f"{name}.main:herz")
    assert ran.of("copied-value")["where"] == f"{name}/deep/er.py:2"


def test_code_that_cannot_be_parsed_is_left_out(healthy, doctor):
    (healthy / "src").mkdir()
    (healthy / "src" / "bad.py").write_text("def (:\n")
    (healthy / "src" / "binary.py").write_bytes(b"\x00\xff")
    assert doctor("--code", "src") == (0, [])


def test_code_that_is_not_there_is_a_usage_error(healthy, capsys):
    assert main(["doctor", "--code", "nowhere"]) == 2


def test_the_application_is_not_started_by_looking(healthy, doctor, module):
    name = module(MODELS + "@herz.refresh_scope(eager=True)\nclass C:\n    def __init__(self): raise SystemExit(9)\n")
    assert doctor("--app", name) == (0, [])
