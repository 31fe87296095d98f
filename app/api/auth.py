"""API keys: who may use the service, and by which name their conversations, jobs and limits go.

The service knows keys by their SHA-256 alone. They are random and long (`python -m app.api.auth NAME` makes one), so
that the hash tells nothing about them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from apiflask import APIFlask
from flask import g, request

from app.api.errors import NoApiKeyError, WrongApiKeyError
from config.settings import Settings, SettingsError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHA256 = re.compile(r"[0-9a-fA-F]{64}")

OPEN_BLUEPRINTS = frozenset({"health", "docs", "pages"})
"""What anybody may read: the state of the service for whoever runs it, and pages that hold nobody's data."""


class ApiKeys:
    """The keys, by their hashes; none of them if the service is open to all."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """`names` has the name of each key under its SHA-256, in small hexadecimal digits."""
        self._names = dict(names)

    def __bool__(self) -> bool:
        return bool(self._names)

    def name_of(self, key: bytes) -> str | None:
        """Whose key this is; takes the same time for any key of the same length, right or wrong."""
        presented = hashlib.sha256(key).hexdigest()
        found = None
        for digest, name in self._names.items():
            if hmac.compare_digest(digest, presented):
                found = name
        return found

    @classmethod
    def from_settings(cls, settings: Settings) -> ApiKeys:
        """Read `TROIKA_API_KEYS` and the file of `TROIKA_API_KEYS_FILE`; raises `SettingsError`.

        A name may have several keys, so that one can be exchanged while the other still works. No message shows what
        stands where a hash should: it may be the key itself.
        """
        names: dict[str, str] = {}
        for place, entry in _entries(settings):
            name, _, digest = entry.partition(":")
            name, digest = name.strip(), digest.strip().lower()
            if not NAME.fullmatch(name) or not SHA256.fullmatch(digest):
                raise SettingsError(
                    f"{place} is not NAME:SHA256, with a name of up to 64 letters, digits and . _ - and a hash of 64 "
                    "hexadecimal digits. `python -m app.api.auth NAME` makes a key and its line."
                )
            if names.setdefault(digest, name) != name:
                raise SettingsError(f"{place} gives the key of {names[digest]} to {name} too; a key has one name.")
        return cls(names)


def _entries(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each entry, and what to call it in an error."""
    if settings.api_keys:
        yield from _numbered("TROIKA_API_KEYS: entry", settings.api_keys.split(","))
    if settings.api_keys_file:
        setting = f"TROIKA_API_KEYS_FILE={settings.api_keys_file}"
        try:
            lines = Path(settings.api_keys_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{setting} can't be read: {error}.") from error
        # A file that is there but empty must not open the service to all.
        if not any(_is_entry(line) for line in lines):
            raise SettingsError(f"{setting} holds no key; leave the setting out to serve without keys.")
        yield from ((place, line) for place, line in _numbered(f"{setting}: line", lines) if _is_entry(line))


def _numbered(place: str, entries: Iterable[str]) -> Iterator[tuple[str, str]]:
    return ((f"{place} {number}", entry) for number, entry in enumerate(entries, start=1))


def _is_entry(line: str) -> bool:
    return bool(line.strip()) and not line.strip().startswith("#")


# -- requests ------------------------------------------------------------------------------------------------


def init_app(app: APIFlask, keys: ApiKeys) -> None:
    """Ask every request for a key, but for the pages that are open, if there are any keys."""
    app.extensions["api_keys"] = keys
    if keys:
        app.before_request(lambda: _authenticate(keys))


def needs_key(endpoint: str | None, method: str) -> bool:
    """Whether a request to this endpoint needs a key; what isn't there and what a browser asks ahead need none."""
    return endpoint is not None and method != "OPTIONS" and endpoint.rpartition(".")[0] not in OPEN_BLUEPRINTS


def _authenticate(keys: ApiKeys) -> None:
    if not needs_key(request.endpoint, request.method):
        return
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise NoApiKeyError
    # WSGI reads the bytes of headers as Latin-1.
    name = keys.name_of(key.strip().encode("latin-1"))
    if name is None:
        raise WrongApiKeyError
    g.key_name = name


# -- making one ----------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Make a key: it on standard output, and the line for the settings."""
    if len(arguments) != 1 or not NAME.fullmatch(arguments[0]):
        sys.stderr.write("usage: python -m app.api.auth NAME\nNAME has up to 64 letters, digits and . _ -\n")
        return 2
    key = f"troika-{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    sys.stdout.write(
        f"The key, which is shown only now; clients send it as `Authorization: Bearer KEY`:\n{key}\n"
        f"Its entry in TROIKA_API_KEYS, or line in the file of TROIKA_API_KEYS_FILE:\n{arguments[0]}:{digest}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
