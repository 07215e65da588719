"""The service while somebody edits its file."""

from __future__ import annotations


def test_an_edit_is_served_and_nonsense_is_not(app, folder):
    client = app.create_app().test_client()
    try:
        assert client.get("/welcome/Ada").text == "Hello, Ada. We are open from 9 to 18."

        (folder / "application.yml").write_text("shop: {greeting: Good morning, opening-hours: [8, 12]}\n")
        app.herz.wait_for(lambda snapshot: snapshot["shop.greeting"] == "Good morning", 10)
        assert client.get("/welcome/Ada").text == "Good morning, Ada. We are open from 8 to 12."

        (folder / "application.yml").write_text("shop: {greeting: Good night, opening-hours: [18, 9]}\n")
        app.herz.wait_for(lambda _: app.herz.freshness == "REFUSED", 10)
        assert client.get("/welcome/Ada").text == "Good morning, Ada. We are open from 8 to 12."
        assert client.get("/actuator/health").status_code == 503
        assert client.post("/actuator/refresh").status_code == 404  # not exposed here
    finally:
        app.herz.stop()
