"""What browsers and proxies are told: headers on every reply, other sites' pages, and whose address is believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app import create_app
from app.chat.service import ChatService
from config.settings import Settings, SettingsError, load_settings
from tests.api.test_chat import assert_error, post
from tests.server import LiveServer, serve

FRIEND = "https://friend.example"
LOCAL = "http://[::1]:3000"


@pytest.fixture(scope="module")
def server(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Behind two proxies, with two sites allowed and five requests an hour for each address."""
    with serve(
        tmp_path_factory.mktemp("server"),
        model=chat_model,
        cors_origins=f"{FRIEND},{LOCAL}",
        trusted_proxies=2,
        rate_limit="5/hour",
        max_body_kb=64,
    ) as server:
        yield server


@pytest.fixture
def visitor(server: LiveServer) -> Iterator[httpx.Client]:
    """A client of an address of its own, so that no test uses up the next one's requests."""
    visitor.count += 1  # type: ignore[attr-defined]
    address = f"198.51.100.{visitor.count}"  # type: ignore[attr-defined]
    with server.client(headers={"X-Forwarded-For": f"{address}, 10.0.0.1"}) as client:
        yield client


visitor.count = 0  # type: ignore[attr-defined]


# -- headers -------------------------------------------------------------------------------------------------


def test_every_reply_has_the_headers_that_browsers_go_by(http: httpx.Client) -> None:
    assert "default-src 'self'" in http.get("/docs").headers["Content-Security-Policy"]
    assert http.get("/docs/swagger-ui.css").headers["X-Content-Type-Options"] == "nosniff"
    replies = [
        post(http, input="Hello"),
        post(http, input="Hello", stream=True),
        post(http, input=""),
        http.get("/nothing"),
        http.put("/chat"),
        http.get("/health/live"),
        http.get("/openapi.json"),
        http.options("/chat"),
        http.post("/chat", content="x" * 70_000),
    ]
    for reply in replies:
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["X-Frame-Options"] == "DENY"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert reply.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "no-" in reply.headers["Cache-Control"]


def test_no_reply_shows_a_stack_trace_whatever_flask_is_told(
    chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASK_DEBUG", "1")
    app = create_app(Settings(model=str(chat_model), database_url=f"sqlite:///{tmp_path}/troika.db"))
    service: ChatService = app.extensions["chat"]
    try:
        monkeypatch.setattr(service, "converse", lambda *_, **__: {}["a secret of the inside"])
        response = app.test_client().post("/chat", json={"input": "Hello"})
    finally:
        service.engine.close()
        service.memory.close()
    assert app.debug is False
    assert response.status_code == 500
    assert response.get_json()["error"]["code"] == "internal_error"
    for inside in ("Traceback", "KeyError", "secret", ".py"):
        assert inside not in response.get_data(as_text=True)


# -- other sites ---------------------------------------------------------------------------------------------


def preflight(client: httpx.Client, origin: str) -> httpx.Response:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
    }
    return client.options("/v1/chat/completions", headers=asked)


@pytest.mark.parametrize("origin", [FRIEND, LOCAL])
def test_pages_of_allowed_sites_may_use_the_service(visitor: httpx.Client, origin: str) -> None:
    response = preflight(visitor, origin)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    allowed = response.headers["Access-Control-Allow-Headers"].lower()
    assert all(name in allowed for name in ("authorization", "content-type", "x-stainless-os"))
    assert int(response.headers["Access-Control-Max-Age"]) > 0
    # Also an error is for the page to read.
    for body in ({"input": "Hello", "max_new_tokens": 2}, {"input": ""}):
        reply = visitor.post("/chat", json=body, headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"})
        assert reply.headers["Access-Control-Allow-Origin"] == origin
        assert "X-Request-ID" in reply.headers["Access-Control-Expose-Headers"]
        assert "Origin" in reply.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in reply.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://stranger.example",
        "https://friend.example.stranger.example",
        "https://friend.example:8443",
        "http://friend.example",
        "https://friendXexample",
        "http://:3000",
        "null",
        f"{FRIEND},{LOCAL}",
        f"{FRIEND}/",
    ],
)
def test_pages_of_other_sites_may_not(visitor: httpx.Client, origin: str) -> None:
    assert "Access-Control-Allow-Origin" not in preflight(visitor, origin).headers
    read = visitor.get("/health", headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"})
    assert "Access-Control-Allow-Origin" not in read.headers
    # A form is sent without asking ahead; that nobody could read the reply saves no work.
    form = visitor.post("/chat", data={"input": "Hi"}, headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"})
    assert_error(form, 403, None)
    assert form.json()["error"]["code"] == "cross_site"


def test_the_services_own_pages_and_other_programs_need_no_permission(
    visitor: httpx.Client, server: LiveServer
) -> None:
    for headers in ({}, {"Sec-Fetch-Site": "same-origin", "Origin": server.url}, {"Sec-Fetch-Site": "none"}):
        reply = visitor.post("/chat", json={"input": "Hello", "max_new_tokens": 2}, headers=headers)
        assert reply.status_code == 200
        assert "Access-Control-Allow-Origin" not in reply.headers


def test_without_the_setting_no_site_is_allowed(http: httpx.Client) -> None:
    assert "Access-Control-Allow-Origin" not in preflight(http, FRIEND).headers
    form = http.post("/chat", data={"input": "Hi"}, headers={"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"})
    assert_error(form, 403, None)


@pytest.mark.parametrize(
    "value", ["friend.example", "https://friend.example/", "https://a.example, https://b.example", "https://*", "*,*"]
)
def test_an_origin_that_no_browser_would_send_stops_the_start(value: str) -> None:
    with pytest.raises(SettingsError, match="TROIKA_CORS_ORIGINS"):
        load_settings(cors_origins=value)


# -- proxies -------------------------------------------------------------------------------------------------


def remaining(client: httpx.Client, forwarded: str | None) -> int:
    """How many requests the address that the service sees has left."""
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    return int(client.get("/v1/models", headers=headers).headers["X-RateLimit-Remaining"])


def test_the_address_is_the_one_that_the_trusted_proxies_saw(server: LiveServer) -> None:
    with server.client() as client:
        assert remaining(client, "203.0.113.7, 10.0.0.1") == 4
        # What stands before comes from the client itself.
        assert remaining(client, "1.1.1.1, 203.0.113.7, 10.0.0.1") == 3
        assert remaining(client, "2.2.2.2, 203.0.113.7, 10.0.0.2") == 2
        assert remaining(client, "203.0.113.8, 10.0.0.1") == 4
        # Fewer proxies than there should be: not through them, so nothing of it is believed.
        assert remaining(client, "203.0.113.9") == 4
        assert remaining(client, None) == 3


def test_an_ipv6_client_has_one_address_however_many_it_takes(server: LiveServer) -> None:
    with server.client() as client:
        assert remaining(client, "2001:db8:1:2::1, ::1") == 4
        assert remaining(client, "2001:db8:1:2:ffff::2, ::1") == 3
        assert remaining(client, "2001:db8:1:3::1, ::1") == 4
        assert remaining(client, "::ffff:203.0.113.77, ::1") == 4
        assert remaining(client, "203.0.113.77, ::1") == 3


def test_the_description_names_the_scheme_that_the_proxy_was_reached_by(server: LiveServer, http: httpx.Client) -> None:
    headers = {"X-Forwarded-Proto": "https,http", "X-Forwarded-Host": "evil.example"}
    with server.client() as client:
        (found,) = client.get("/openapi.json", headers=headers).json()["servers"]
    assert found["url"] == server.url.replace("http:", "https:")
    (found,) = http.get("/openapi.json", headers=headers | {"X-Forwarded-Ssl": "on"}).json()["servers"]
    assert found["url"].startswith("http://127.0.0.1")
