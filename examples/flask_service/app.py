"""A Flask service: `flask --app app run`.

Under gunicorn each worker calls `create_app` and follows the configuration for itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from herz import Herz
from herz.actuator.pinning import PinWsgiMiddleware

herz = Herz("application.yml")


@herz.properties("shop")
@dataclass(frozen=True)
class ShopConfig:
    """What the shop says, and when it is open."""

    greeting: str
    opening_hours: tuple[int, int]

    def __post_init__(self) -> None:
        if not 0 <= self.opening_hours[0] < self.opening_hours[1] <= 24:
            raise ValueError("a shop opens before it closes")


@herz.refresh_scope
class Reception:
    """Welcomes customers."""

    def __init__(self, config: ShopConfig) -> None:
        self.config = config

    def welcome(self, name: str) -> str:
        """One line."""
        opens, closes = self.config.opening_hours
        return f"{self.config.greeting}, {name}. We are open from {opens} to {closes}."


def create_app() -> Flask:
    herz.start()
    app = Flask(__name__)
    pinned = PinWsgiMiddleware(app.wsgi_app, herz)
    app.wsgi_app = DispatcherMiddleware(pinned, {"/actuator": herz.wsgi_actuator()})  # type: ignore[method-assign]

    @app.get("/welcome/<name>")
    def welcome(name: str) -> str:
        return herz.get(Reception).welcome(name)

    return app
