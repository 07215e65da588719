"""An etcd server's own settings as etcd reads them: flags, ETCD_* variables, or its configuration file.

What wins is etcd's rule (https://etcd.io/docs/v3.5/op-guide/configuration/): a flag before its variable, and with a
configuration file neither counts.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from herz.cli.doctor.finding import Finding
from herz.errors import DocumentMalformed, HerzError, UsageError
from herz.formats.decode import Decoded, decode
from herz.model.tree import is_table

SWITCHES: Final = frozenset({"client-cert-auth", "auto-tls", "peer-client-cert-auth", "peer-auto-tls"})
VALUES: Final = frozenset(
    {"listen-client-urls", "advertise-client-urls", "listen-metrics-urls"}
    | {"listen-peer-urls", "initial-advertise-peer-urls", "snapshot-count", "config-file"}
    | {f"{peer}{name}" for peer in ("", "peer-") for name in ("cert-file", "key-file", "trusted-ca-file")}
)
READ: Final = SWITCHES | VALUES
"""The flags that are looked at. All others are left to etcd."""
_ALIKE: Final = (
    {"client-crl-file", "peer-crl-file", "client-cert-allowed-hostname", "peer-cert-allowed-hostname"}
    | {"peer-cert-allowed-cn", "client-cert-file", "client-key-file", "peer-client-cert-file", "peer-client-key-file"}
    | {"max-snapshots", "snapshot-catchup-entries", "experimental-snapshot-catchup-entries", "listen-client-http-urls"}
)
"""Flags of some version of etcd that are spelled much like those that are looked at."""
_OTHER_SWITCHES: Final = frozenset(
    {"initial-election-tick-advance", "strict-reconfig-check", "pre-vote", "enable-v2", "enable-pprof", "debug"}
    | {"force-new-cluster", "experimental-initial-corrupt-check", "experimental-enable-lease-checkpoint", "version"}
    | {"experimental-peer-skip-client-san-verification", "unsafe-no-fsync", "enable-grpc-gateway", "help", "h"}
)
_SECTIONS: Final = {"client-transport-security": "", "peer-transport-security": "peer-"}
_INSIDE: Final = ("cert-file", "key-file", "client-cert-auth", "trusted-ca-file", "auto-tls")
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
"""What Go's strconv.ParseBool takes for true."""
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its text, and what it is called where it was written (`--cert-file`, `etcd.yml:4 cert-file`)."""

    text: str
    name: str


@dataclass(slots=True)
class EtcdSettings:
    """What a server would be started with, by flag; `wrong` is what etcd would refuse or overlook while reading."""

    settings: dict[str, Setting] = field(default_factory=dict)
    wrong: list[Finding] = field(default_factory=list)
    place: str = "--etcd-args"

    def text(self, flag: str, default: str = "") -> str:
        """The text of `flag`."""
        found = self.settings.get(flag)
        return default if found is None else found.text

    def name(self, flag: str) -> str:
        """What `flag` is called where it was written, or would be."""
        found = self.settings.get(flag)
        if found is not None:
            return found.name
        if self.place == "--etcd-args":
            return f"--{flag}"
        section = next((name for name, prefix in _SECTIONS.items() if _within(flag, prefix)), None)
        return flag if section is None else f"{section}.{flag.removeprefix('peer-')}"

    def urls(self, flag: str, default: str = "") -> list[str]:
        """The URLs of `flag`, which etcd separates by commas."""
        return [url.strip() for url in self.text(flag, default).split(",") if url.strip()]

    def switched(self, flag: str) -> bool:
        """Whether a switch is on."""
        return self.text(flag) in _TRUE


def _within(flag: str, prefix: str) -> bool:
    return flag in {f"{prefix}{name}" for name in _INSIDE}


def from_arguments(line: str, environment: Mapping[str, str]) -> EtcdSettings:
    """The settings of a command line, `--a=b` or `--a b`; variables before it (`ETCD_NAME=x etcd …`) count as such.

    `UsageError` when it cannot be split into words.
    """
    try:
        words = shlex.split(line.replace("\\\n", " "))
    except ValueError as error:
        raise UsageError(f"--etcd-args cannot be read: {error}", remedy="quote it as for a shell") from None
    found = EtcdSettings()
    variables = {name: value for name, value in environment.items() if name.startswith("ETCD_")}
    while words and not words[0].startswith("-"):
        name, equals, value = words.pop(0).partition("=")
        if equals and name.startswith("ETCD_"):
            variables[name] = value
    _flags(words, found)
    for name, value in variables.items():
        flag = name.removeprefix("ETCD_").lower().replace("_", "-")
        if flag in READ and flag not in found.settings and value:
            _take(found, flag, value, f"env:{name}")
    file = found.settings.get("config-file")
    if file is None:
        return found
    read = from_file(file.text)
    read.wrong = found.wrong + read.wrong
    overlooked = sorted(setting.name for flag, setting in found.settings.items() if flag != "config-file")
    if overlooked:
        read.wrong.append(
            Finding(
                "etcd-setting-ignored",
                "warning",
                f"etcd overlooks {', '.join(overlooked)}, because {file.name} is set",
                file.text,
                "move them into the file",
            )
        )
    return read


def _flags(words: Sequence[str], found: EtcdSettings) -> None:
    rest = list(words)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or word == "--":
            _refused(found, f"{word!r} is no flag, and etcd stops at it", word, "write values behind a =")
            return
        if flag not in READ:
            _unknown(found, flag)
            if not equals and flag not in _OTHER_SWITCHES and rest and not rest[0].startswith("-"):
                rest.pop(0)
        elif flag in SWITCHES:
            if not equals and rest and rest[0] in _TRUE | _FALSE:
                given = rest.pop(0)
                _refused(found, f"--{flag} {given}: etcd takes {given!r} for no value of it", word, f"--{flag}={given}")
                value, equals = given, "="
            _take(found, flag, value if equals else "true", f"--{flag}")
        elif equals:
            _take(found, flag, value, f"--{flag}")
        elif rest:
            _take(found, flag, rest.pop(0), f"--{flag}")
        else:
            _refused(found, f"--{flag} has no value", word, f"write --{flag}=VALUE")


def _take(found: EtcdSettings, flag: str, text: str, name: str) -> None:
    if flag in SWITCHES and text not in _TRUE | _FALSE:
        _refused(found, f"{name} is {text!r}, neither true nor false", name, f"write {name}=true")
    elif flag == "snapshot-count" and not text.isdecimal():
        _refused(found, f"{name} is {text!r}, no number", name, "write a number")
    else:
        found.settings[flag] = Setting(text, name)


def _refused(found: EtcdSettings, what: str, where: str, remedy: str) -> None:
    found.wrong.append(Finding("etcd-setting-refused", "error", what, where, remedy))


def _unknown(found: EtcdSettings, flag: str) -> None:
    if flag in _ALIKE:
        return
    near = get_close_matches(flag, sorted(READ), n=1, cutoff=0.85)
    if near:
        _refused(found, f"etcd has no flag --{flag}", f"--{flag}", f"write --{near[0]}")


def from_file(path: str) -> EtcdSettings:
    """The settings of etcd's configuration file, YAML or JSON. `UsageError` when there is no such file."""
    found = EtcdSettings(place=path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"etcd's configuration cannot be read: {error.strerror}", where=path, remedy="name its file"
        ) from error
    try:
        decoded = decode(data, "yaml", name=path)
    except DocumentMalformed as error:
        _refused(found, error.what, error.where or path, error.remedy or "mend the file")
        return found
    except HerzError as error:
        raise UsageError(error.what, where=error.where or path, remedy=error.remedy) from error
    for key, value in decoded.tree.items():
        if key in _SECTIONS and is_table(value):
            for inner, setting in value.items():
                if inner in _INSIDE:
                    _entry(found, decoded, (key, inner), _SECTIONS[key] + inner, setting)
        elif key in READ and not any(_within(key, prefix) for prefix in _SECTIONS.values()):
            _entry(found, decoded, (key,), key, value)
        elif key in READ:
            section = "peer-transport-security" if key.startswith("peer-") else "client-transport-security"
            found.wrong.append(
                Finding(
                    "etcd-setting-ignored",
                    "error",
                    f"etcd overlooks {key} at the top of its file",
                    _place(decoded, (key,)),
                    f"write it as {key.removeprefix('peer-')} under {section}",
                )
            )
    return found


def _entry(found: EtcdSettings, decoded: Decoded, path: tuple[str, ...], flag: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool):
        value = "true" if value else "false"
    if isinstance(value, (list, dict)) or is_table(value):
        _refused(found, f"{'.'.join(path)}: etcd expects text", _place(decoded, path), "write it as text, with commas")
        return
    _take(found, flag, str(value), ".".join(path))


def _place(decoded: Decoded, path: tuple[str, ...]) -> str:
    line = decoded.locate(path)
    return decoded.name if line is None else f"{decoded.name}:{line}"
