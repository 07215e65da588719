"""The actuator as a Django view, and the only module of it that imports Django.

`urlpatterns = [re_path(r"^actuator(?P<path>/.*)$", actuator_view(herz))]`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse

from herz.actuator.wsgi import WsgiActuator
from herz.app.herz import Herz


def actuator_view(herz: Herz, **options: Any) -> Callable[..., HttpResponse]:
    """A view that answers as `WsgiActuator` does; `path`, captured by the URL pattern, is the path below the mount.

    It is synchronous: under ASGI Django runs it in a thread. `authorize` is given the request's `META`. It asks for no
    CSRF token, for a refresh carries no data and acts for no user.
    """
    actuator = WsgiActuator(herz, **options)

    def view(request: HttpRequest, path: str = "") -> HttpResponse:
        response = actuator.respond({**request.META, "REQUEST_METHOD": request.method}, path)
        headers = {name: value for name, value in response.headers if name != "content-length"}
        return HttpResponse(response.body, status=response.status, headers=headers)

    view.csrf_exempt = True  # type: ignore[attr-defined]
    return view
