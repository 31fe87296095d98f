"""`/` and `/train`: the pages for people, and the files that they load.

What a page does, it does in the browser through this same HTTP API. Left to `app/web`: templates, styles, scripts and
the words in each language.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from apiflask import APIBlueprint
from flask import Response, render_template, request
from werkzeug.exceptions import NotFound

import app
from app.api.chat import service

WEB = Path(__file__).parent.parent / "web"
STATIC = WEB / "static"
MIMETYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

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


@blueprint.get("/static/<version>/<path:name>")
def asset(version: str, name: str) -> Response:
    found = assets().get(name)
    if found is None:
        raise NotFound
    is_current = version == fingerprint()
    headers = {
        "Cache-Control": f"public, max-age={YEAR_S}, immutable" if is_current else "no-cache",
        "Vary": "Accept-Encoding",
    }
    if not request.accept_encodings.quality("gzip"):
        return Response(found.content, mimetype=found.mimetype, headers=headers)
    return Response(found.gzipped, mimetype=found.mimetype, headers=headers | {"Content-Encoding": "gzip"})


# -- what the pages are made of ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asset:
    content: bytes
    gzipped: bytes
    mimetype: str


@cache
def assets() -> dict[str, Asset]:
    """What the pages load, by name: the files of `static`, and the words of each language as a module."""
    found = {path.relative_to(STATIC).as_posix(): path.read_bytes() for path in STATIC.rglob("*") if path.is_file()}
    for language in LANGUAGES:
        words = json.dumps(texts(language), ensure_ascii=False, separators=(",", ":"))
        found[f"strings.{language}.js"] = f"export default {words};\n".encode()
    return {
        name: Asset(content, gzip.compress(content, mtime=0), MIMETYPES[Path(name).suffix])
        for name, content in sorted(found.items())
    }


@cache
def texts(language: str) -> dict[str, str]:
    """Every text of the pages, by key, in one language."""
    found = json.loads((WEB / "strings.json").read_text(encoding="utf-8"))
    return {key: each[language] for key, each in found.items()}


@cache
def fingerprint() -> str:
    """Names this state of all that the pages load, so that a browser may keep it for good."""
    digest = hashlib.sha256()
    for name, each in assets().items():
        digest.update(name.encode() + b"\0" + each.content + b"\0")
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
