"""Texts that anybody may read: whatever a secret is like and however it is written, none of it is left."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from herz.errors import HerzError
from herz.release.content import LayerText
from herz.server.edit_lines import edit_properties
from herz.server.masking import READ_MOST, masked
from herz.server.reading import decoded

ENDS = ("Q7", "7Q")
SECRETS = st.text(st.sampled_from("abXY09 _-#:=\"'\\\n\t[]{}é漢,.&*!|>%@`$"), min_size=3, max_size=30)
STYLES = st.sampled_from([None, '"', "'", "|", ">"])


def checked(text: str, format: str) -> None:
    layer = LayerText(name="one", text=text, format=format)  # type: ignore[arg-type]
    try:
        decoded(layer)
    except HerzError:
        assume(False)
    shown = masked(layer)
    assert shown is None or not any(end in shown for end in ENDS), shown


def secret(text: str) -> str:
    return f"{ENDS[0]}{text}{ENDS[1]}"


@given(SECRETS, STYLES, st.sampled_from([None, False, True]), st.sampled_from([20, 80, 1000]))
def test_in_yaml(text, style, flow, width):
    tree = {"db": {"host": "h", "password": secret(text)}, "list": [{"api-key": secret(text), "n": 1}], "z": 2}
    checked(yaml.safe_dump(tree, default_style=style, default_flow_style=flow, width=width, allow_unicode=True), "yaml")


@given(SECRETS, st.sampled_from([None, 2, "\t"]), st.booleans())
def test_in_json(text, indent, ascii):
    tree = {"db": {"host": "h", "password": secret(text)}, "secrets": [secret(text)], "z": 2}
    checked(json.dumps(tree, indent=indent, ensure_ascii=ascii), "json")


@given(SECRETS, st.booleans())
def test_in_toml(text, several):
    escaped = secret(text).replace("\\", "\\\\").replace('"', '\\"')
    value = f'"""\n{escaped}"""' if several else json.dumps(secret(text), ensure_ascii=False)
    checked(f'[db]\nhost = "h"\npassword = {value}\n[other]\nport = 1\n', "toml")


@given(SECRETS)
def test_in_an_env_file(text):
    escaped = secret(text).replace("\\", "\\\\").replace('"', '\\"')
    checked(f'HOST=h\nDB__PASSWORD="{escaped}"\nPORT=1\n', "env")


@given(SECRETS)
def test_in_properties(text):
    checked(edit_properties("db.host=h\nport=1\n", ("db", "password"), secret(text)), "properties")


@pytest.mark.parametrize("text", ["a: [\n", "a: 1\n" + "#" * READ_MOST])
def test_what_cannot_be_read_or_is_too_large_is_not_shown(text):
    assert masked(LayerText(name="one", text=text)) is None


def test_a_text_without_secrets_is_shown_as_it_is():
    text = "# ours\na: 1  # one\nb:\n- x\n"
    assert masked(LayerText(name="one", text=text)) == text
