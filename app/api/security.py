"""What browsers are told to allow, and which proxies are believed."""

from __future__ import annotations

import re

from apiflask import APIFlask
from flask import Response, request
from flask_cors import CORS
from werkzeug.middleware.proxy_fix import ProxyFix

from app.api.errors import CrossSiteError
from config.settings import Settings

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Replies hold what people wrote. Pages and pictures, which bring rules of their own, keep those.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""On every reply, also on those that `app.server` gives before the application hears of a request."""

METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
EXPOSED = (
    "Idempotent-Replayed",
    "Retry-After",
    "WWW-Authenticate",
    "X-Conversation-ID",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-ID",
)
PREFLIGHT_MAX_AGE_S = 600


def init_app(app: APIFlask, settings: Settings) -> None:
    # Whatever FLASK_DEBUG says: a debug server runs what its visitors type.
    app.debug = False
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.after_request(_add_headers)
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        # Only what proxies set without being told to; a host that they pass on is the client's word.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
    origins = settings.cors_origins.split(",") if settings.cors_origins else []
    if origins:
        CORS(
            app,
            # As patterns: a text is one too for this library, if it looks like one, as [::1] does.
            origins="*" if origins == ["*"] else [re.compile(re.escape(origin) + r"\Z", re.I) for origin in origins],
            methods=METHODS,
            expose_headers=EXPOSED,
            max_age=PREFLIGHT_MAX_AGE_S,
            always_send=False,
        )
    app.before_request(lambda: _refuse_other_sites(origins))


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _refuse_other_sites(origins: list[str]) -> None:
    """Refuse what a page of another site has a visitor's browser send: a form needs nobody's permission.

    Browsers name such requests by a header that pages cannot set.
    """
    if request.method in ("GET", "HEAD", "OPTIONS") or request.headers.get("Sec-Fetch-Site") != "cross-site":
        return
    origin = request.headers.get("Origin", "")
    if origins != ["*"] and origin.lower() not in (allowed.lower() for allowed in origins):
        raise CrossSiteError(origin)
