"""No secret is shown, whoever words the message."""

from __future__ import annotations

import dataclasses
import traceback
from dataclasses import dataclass, field
from typing import Any

import attrs
import msgspec
import pydantic
import pytest

from herz.errors import BindingError
from herz.live.binding import Binding, Secret
from herz.model.secret import SecretKeys

PLAIN = 'pa"ss\nwörd-4711'


def shown(model: Any, table: Any, at: str = "app") -> str:
    """Everything that a log or a debugger's chain of causes would print about the failure."""
    with pytest.raises(BindingError) as caught:
        Binding(model, at).bind(table)
    links: list[BaseException | None] = [caught.value]
    texts = ["".join(traceback.format_exception(caught.value))]
    while links:
        link = links.pop()
        if link is not None:
            texts.append(f"{link} {link!r} {link.args}")
            links += [link.__cause__, link.__context__]
    text = "\n".join(texts)
    for quoted in (PLAIN, repr(PLAIN)[1:-1], "4711"):
        assert quoted not in text
    return str(caught.value)


@dataclass
class Typed:
    key: Secret = field(default_factory=lambda: Secret("default"))
    vendor: pydantic.SecretStr = field(default_factory=lambda: pydantic.SecretStr(""))
    password: str = ""
    pin_token: int = 0


def test_a_text_field_under_a_secret_key_gets_the_plain_text_and_a_secret_field_a_secret() -> None:
    value = (
        Binding(Typed).bind({"key": PLAIN, "vendor": PLAIN, "password": Secret(PLAIN), "pin-token": Secret("7")}).value
    )
    assert (value.key, value.vendor.get_secret_value(), value.password, value.pin_token) == (
        Secret(PLAIN),
        PLAIN,
        PLAIN,
        7,
    )


def test_a_bound_does_not_print_the_table_it_was_made_of() -> None:
    assert "4711" not in repr(Binding(Typed).bind({"key": PLAIN, "vendor": PLAIN}))


def test_a_secret_that_does_not_fit_is_masked_by_its_key_and_by_its_type() -> None:
    assert shown(Typed, {"pin-token": PLAIN}) == "app.pin-token: expected a whole number, got ••••"
    assert shown(Typed, {"key": 4711}) == "app.key: expected text, got ••••; put it in quotes"
    assert shown(Typed, {"pin-token": Secret(PLAIN)}) == "app.pin-token: expected a whole number, got ••••"
    assert "••••" in shown(Typed, {"vendor": [PLAIN]})
    assert "••••" in shown(Typed, {"password": 4711})


def test_everything_under_a_table_of_secrets_is_masked() -> None:
    @dataclass
    class Secrets:
        secrets: dict[str, int]

    assert shown(Secrets, {"secrets": {"a": PLAIN}}) == "app.secrets.a: expected a whole number, got ••••"


def test_further_patterns_make_keys_secret() -> None:
    @dataclass
    class Pinned:
        door_code: int = 0

    with pytest.raises(BindingError, match="got ••••"):
        Binding(Pinned).bind({"door-code": "x"}, secret=SecretKeys(["code$"]))


@dataclass
class Telltale:
    password: str = ""
    key: Secret | None = None
    raised: str = "ValueError"

    def __post_init__(self) -> None:
        plain = self.key.reveal() if self.key else self.password
        cause = KeyError(plain)
        raise {"ValueError": ValueError, "RuntimeError": RuntimeError}[self.raised](f"wrong: {plain!r}") from cause


@attrs.define
class AttrsTelltale:
    password: str = attrs.field(default="", validator=attrs.validators.matches_re("[a-c]+"))
    key: Secret | None = None


class StructTelltale(msgspec.Struct):
    password: str = ""
    key: Secret | None = None

    def __post_init__(self) -> None:
        raise ValueError(self.password or (self.key and self.key.reveal()))


class ModelTelltale(pydantic.BaseModel):
    password: str = ""
    key: pydantic.SecretStr | None = None

    @pydantic.field_validator("password")
    @classmethod
    def _password(cls, value: str) -> str:
        if value:
            raise ValueError(f"{value} is weak")
        return value

    @pydantic.model_validator(mode="after")
    def _whole(self) -> ModelTelltale:
        raise ValueError(f"no: {self.key and self.key.get_secret_value()!r}")


class RawTelltale(pydantic.BaseModel):
    key: pydantic.SecretStr

    @pydantic.field_validator("key", mode="before")
    @classmethod
    def _key(cls, value: Any) -> Any:
        raise ValueError(f"cannot use {value!r}")


@pytest.mark.parametrize("model", [Telltale, AttrsTelltale, StructTelltale, ModelTelltale])
def test_a_validator_that_tells_a_secret_is_masked_in_message_and_causes(model: Any) -> None:
    assert "••••" in shown(model, {"password": PLAIN})


@pytest.mark.parametrize("model", [Telltale, StructTelltale, ModelTelltale, RawTelltale])
def test_a_secret_by_type_alone_is_masked_in_what_validators_tell(model: Any) -> None:
    assert "••••" in shown(model, {"key": PLAIN})


def test_other_exceptions_of_a_model_are_told_by_name_without_the_secret() -> None:
    assert "app: RuntimeError: wrong:" in shown(Telltale, {"password": PLAIN, "raised": "RuntimeError"})


def test_a_secret_in_a_table_in_a_list_is_masked_too() -> None:
    @dataclass
    class Users:
        users: list[dict[str, Any]]

        def __post_init__(self) -> None:
            raise ValueError(f"wrong: {[user['password'].reveal() for user in self.users]}")

    assert shown(Users, {"users": [{"name": "n", "password": PLAIN}]}) == "app: wrong: ['••••']"


def test_a_cause_that_is_free_of_secrets_is_chained() -> None:
    @dataclass
    class Clean:
        password: str = ""

        def __post_init__(self) -> None:
            raise ValueError("out of order")

    with pytest.raises(BindingError) as caught:
        Binding(Clean, "a").bind({"password": PLAIN})
    assert str(caught.value) == "a: out of order"
    assert isinstance(caught.value.__cause__, ValueError)


def test_untyped_values_under_secret_keys_stay_secret() -> None:
    model = dataclasses.make_dataclass("Untyped", [("anything", Any)])
    assert Binding(model).bind({"anything": {"api-key": PLAIN, "size": 1}}).value.anything == {
        "api-key": Secret(PLAIN),
        "size": 1,
    }
