"""A Django service in one file: `python app.py runserver --noreload`, or `gunicorn app:application`.

Django's own settings are read once and stay; what should change while it runs is Herz's.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path, re_path

from herz import Herz
from herz.actuator.django import actuator_view
from herz.actuator.pinning import PinWsgiMiddleware

herz = Herz("application.yml")


@herz.properties("shop")
@dataclass(frozen=True)
class ShopConfig:
    """What the shop says."""

    greeting: str


@herz.refresh_scope
class Reception:
    """Welcomes customers."""

    def __init__(self, config: ShopConfig) -> None:
        self.greeting = config.greeting


class Shop(AppConfig):  # type: ignore[misc]
    """The application; Herz starts when Django is ready."""

    name = __name__
    label = "shop"

    def ready(self) -> None:
        """Load, then follow."""
        herz.start()


def welcome(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(f"{herz.get(Reception).greeting}, {name}.")


urlpatterns = [
    path("welcome/<name>", welcome),
    re_path(r"^actuator(?P<path>/.*)$", actuator_view(herz)),
]

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    INSTALLED_APPS=[f"{__name__}.Shop"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="made up: use one of your own",  # noqa: S106
)


def served() -> Any:
    return PinWsgiMiddleware(get_wsgi_application(), herz)


if __name__ == "__main__":
    execute_from_command_line(sys.argv)
else:
    application = served()
