"""`/` and `/train`: the pages for people, and the files that they load.

What a page does, it does in the browser through this same HTTP API. Left to `app/web`: templates, styles, scripts and
the words in each language.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from apiflask import APIBlueprint
from flask import Response, render_template, request, send_from_directory

import app
from app.api.chat import service

WEB = Path(__file__).parent.parent / "web"
LANGUAGES = {"en": "en", "zh": "zh-CN"}
"""The languages of the page, and what HTML calls them."""

THEMES = ("light", "dark")

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Nothing from elsewhere, nothing inline, and no way at all to turn a text into HTML or script."""

YEAR_S = 365 * 86_400

blueprint = APIBlueprint(
    "pages", __name__, template_folder=str(WEB / "templates"), static_folder=None, enable_openapi=False
)


@blueprint.get("/")
def chat() -> Response:
    return _page("chat.html")


@blueprint.get("/train")
def train() -> Response:
    return _page("train.html")


@blueprint.get("/static/<version>/strings.<language>.js")
def strings(version: str, language: str) -> Response:
    if language not in LANGUAGES:
        return asset(version, f"strings.{language}.js")
    words = json.dumps(texts(language), ensure_ascii=False, separators=(",", ":"))
    return _cached(Response(f"export default {words};\n", mimetype="text/javascript"), version)


@blueprint.get("/static/<version>/<path:name>")
def asset(version: str, name: str) -> Response:
    return _cached(send_from_directory(WEB / "static", name), version)


@cache
def texts(language: str) -> dict[str, str]:
    """Every text of the pages, by key, in one language."""
    found = json.loads((WEB / "strings.json").read_text(encoding="utf-8"))
    return {key: each[language] for key, each in found.items()}


@cache
def fingerprint() -> str:
    """Names this state of all that the pages load, so that a browser may keep it for good."""
    digest = hashlib.sha256()
    for path in [WEB / "strings.json", *sorted((WEB / "static").rglob("*"))]:
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _page(template: str) -> Response:
    language = _language()
    words = texts(language)
    chat_service = service()
    theme = request.cookies.get("troika_theme")
    page = render_template(
        template,
        t=words.__getitem__,
        lang=LANGUAGES[language],
        language=language,
        theme=theme if theme in THEMES else None,
        # Relative, so that the page works below any path that a proxy gives it.
        static=f"static/{fingerprint()}",
        defaults=chat_service.defaults,
        settings=chat_service.settings,
        max_positions=chat_service.max_positions,
        version=app.__version__,
    )
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache", "Vary": "Accept-Language, Cookie"}
    return Response(page, mimetype="text/html", headers=headers)


def _language() -> str:
    """What the reader has chosen, else the best of what the browser asks for."""
    chosen = request.cookies.get("troika_language")
    if chosen in LANGUAGES:
        return chosen
    return request.accept_languages.best_match(list(LANGUAGES)) or "en"


def _cached(response: Response, version: str) -> Response:
    is_current = version == fingerprint()
    response.headers["Cache-Control"] = f"public, max-age={YEAR_S}, immutable" if is_current else "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
