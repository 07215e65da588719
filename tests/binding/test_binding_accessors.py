"""A binding tells its fields, and which of them are secret, in any spelling."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, RootModel

from herz import Secret
from herz.live.binding import Binding


class Account(BaseModel):
    user_name: str = ""
    pin: Secret | None = None


class Service(BaseModel):
    main: Account = Account()
    others: dict[str, Account] = {}
    keys: list[Secret] = []


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        (("main", "pin"), True),
        (("MAIN", "Pin"), True),
        (("others", "any", "pin"), True),
        (("keys",), True),
        (("keys", "0"), True),
        (("main",), False),
        (("main", "user-name"), False),
        (("others", "any", "user_name"), False),
        (("nowhere", "pin"), False),
        ((), False),
    ],
)
def test_a_field_that_is_declared_secret_is_found_by_its_path(path: tuple[str, ...], secret: bool) -> None:
    assert Binding(Service, "service").is_secret(path) is secret


def test_the_element_of_a_root_model_is_found() -> None:
    assert Binding(RootModel[dict[str, Secret]], "pins").is_secret(("any",))
    assert not Binding(RootModel[dict[str, str]], "names").is_secret(("any",))


def test_the_fields_are_those_of_paths_in_the_same_order() -> None:
    binding = Binding(Service, "service")
    assert tuple(binding.fields) == binding.paths()
    assert binding.fields["main", "pin"].shape.secret
    assert binding.schema.model is Service
