"""`TROIKA_MODEL` to a folder: names, the local cache, and hubs that work, fail, lie or hang."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from app.engine import model_source
from app.engine.local import ROOT
from app.engine.model_source import ModelRefusedError, resolve
from tests.engine.support import save_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GIVES_UP_S = 30
"""The start gives up on a hub after about 5 s; the bound is generous, for a busy machine that imports slowly."""


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("starter"), seed=1)


@pytest.fixture(autouse=True)
def bundled(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_source, "STARTER_FOLDER", starter)


def use_hub(monkeypatch: pytest.MonkeyPatch, cache: Path, endpoint: str, offline: bool = False) -> None:
    """What HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE would have set, had they been there at import."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)


def put_in_cache(cache: Path, name: str, model: Path) -> Path:
    """A snapshot as huggingface_hub lays it out."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    shutil.copytree(model, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


class Hub(http.server.BaseHTTPRequestHandler):
    """Just as much of a Hugging Face hub as a download needs, serving `folder` under the name gpt2."""

    folder: Path
    status = 200
    listing: bytes | None = None
    truncate = False
    stall = threading.Event()
    stalls_at = ""
    seen: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.seen.append(f"{self.command} {path}")
        if self.stalls_at and self.stalls_at in path:
            self.stall.wait(120)
            return
        content: bytes | None = None
        if path == "/api/models/gpt2" or path.startswith("/api/models/gpt2/revision/"):
            names = [file.name for file in self.folder.iterdir()]
            about = {"id": "gpt2", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
            content = json.dumps(about).encode() if self.listing is None else self.listing
        elif path.startswith("/api/models/gpt2/tree/"):
            files = [{"type": "file", "path": f.name, "size": f.stat().st_size} for f in self.folder.iterdir()]
            content = json.dumps([file | {"oid": COMMIT} for file in files]).encode()
        elif path.startswith("/gpt2/resolve/") and (self.folder / path.rsplit("/", 1)[1]).is_file():
            content = (self.folder / path.rsplit("/", 1)[1]).read_bytes()
        status = self.status if content is not None or self.status != 200 else 404
        self.send_response(status)
        if status != 200 or content is None:
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{len(content)}-{path.rsplit("/", 1)[1]}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            cut = self.truncate and path.endswith("model.safetensors")
            self.wfile.write(content[: len(content) // 2] if cut else content)


@contextmanager
def hub(folder: Path, **behaviour: object) -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    handler = type("Handler", (Hub,), {"folder": folder, "seen": seen, "stall": threading.Event(), **behaviour})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        handler.stall.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent_server() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def assert_starter(why: str, starter: Path, within_s: float = GIVES_UP_S) -> None:
    started = time.monotonic()
    source = resolve("auto")
    assert time.monotonic() - started < within_s
    assert (source.name, source.folder) == ("starter", starter)
    assert "gpt2 is not in the local Hugging Face cache and could not be downloaded" in source.reason
    assert why in source.reason


def test_a_folder_is_that_folder(small_model: Path) -> None:
    source = resolve(str(small_model))
    assert (source.name, source.folder) == (small_model.name, small_model)


def test_starter_is_the_bundled_one(starter: Path) -> None:
    source = resolve("starter")
    assert (source.name, source.folder) == ("starter", starter)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all"])
def test_a_folder_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ModelRefusedError, match="no such folder"):
        resolve(name)


def test_a_name_that_the_hub_does_not_allow_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_hub(monkeypatch, tmp_path, "http://127.0.0.1:1")
    for name in ("a/b/c", "what is this", "x--y"):
        with pytest.raises(ModelRefusedError, match="neither a folder"):
            resolve(name)


def test_folders_that_cannot_be_served_are_refused(small_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(ModelRefusedError, match=r"no config\.json"):
        resolve(str(folder))
    shutil.copy(small_model / "config.json", folder)
    with pytest.raises(ModelRefusedError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        resolve(str(folder))
    for content in ("{", "[]", '"gpt2"', '{"model_type": "bert"}'):
        (folder / "config.json").write_text(content)
        with pytest.raises(ModelRefusedError, match=r"config\.json"):
            resolve(str(folder))


def test_auto_takes_the_cached_gpt2_without_network(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = put_in_cache(tmp_path, "gpt2", small_model)
    with hub(small_model) as (endpoint, seen):
        use_hub(monkeypatch, tmp_path, endpoint)
        source = resolve("auto")
    assert (source.name, source.folder) == ("gpt2", snapshot)
    assert seen == []


def test_a_cached_name_is_taken_without_network(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = put_in_cache(tmp_path, "microsoft/DialoGPT-small", small_model)
    use_hub(monkeypatch, tmp_path, f"http://127.0.0.1:{refused_port()}", offline=True)
    source = resolve("microsoft/DialoGPT-small")
    assert (source.name, source.folder) == ("microsoft/DialoGPT-small", snapshot)


def test_auto_does_not_take_a_damaged_cache(
    small_model: Path, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = put_in_cache(tmp_path, "gpt2", small_model)
    (snapshot / "model.safetensors").write_bytes(b"half")
    use_hub(monkeypatch, tmp_path, f"http://127.0.0.1:{refused_port()}")
    source = resolve("auto")
    assert source.folder == starter


@pytest.mark.parametrize("name", ["auto", "gpt2"])
def test_a_model_is_downloaded_whole_and_then_cached(
    name: str, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(small_model) as (endpoint, seen):
        use_hub(monkeypatch, tmp_path, endpoint)
        source = resolve(name)
        assert source.name == "gpt2"
        assert "downloaded" in source.reason
        for file in ("config.json", "model.safetensors"):
            assert (source.folder / file).read_bytes() == (small_model / file).read_bytes()
        requests = len(seen)
        again = resolve(name)
    assert again.folder == source.folder
    assert len(seen) == requests


def test_auto_with_a_hub_that_refuses_connections(
    starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub(monkeypatch, tmp_path, f"http://127.0.0.1:{refused_port()}")
    assert_starter("127.0.0.1 cannot be reached", starter)


def test_auto_with_a_hub_that_never_answers(starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_server() as endpoint:
        use_hub(monkeypatch, tmp_path, endpoint)
        assert_starter("127.0.0.1", starter)


def test_auto_with_a_hub_whose_name_is_unknown(starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(monkeypatch, tmp_path, "http://hub.invalid")
    assert_starter("hub.invalid", starter)


def test_auto_offline_by_setting(starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(monkeypatch, tmp_path, "http://127.0.0.1:1", offline=True)
    assert_starter("HF_HUB_OFFLINE is set", starter)


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        ({"status": 404}, "no public model gpt2"),
        ({"status": 401}, "no public model gpt2"),
        ({"status": 500}, "the hub answered 500"),
        ({"status": 429}, "the hub answered 429"),
        ({"listing": b"<html>please log in</html>"}, "not that of a Hugging Face hub"),
        ({"listing": b"[]"}, "not that of a Hugging Face hub"),
        ({"listing": b'{"siblings": []}'}, "no config.json"),
        ({"listing": b'{"siblings": [{"rfilename": "config.json"}]}'}, "no config.json with"),
        ({"stalls_at": "/api/"}, "127.0.0.1"),
    ],
    ids=str,
)
def test_auto_with_a_hub_that_fails(
    behaviour: dict[str, object],
    why: str,
    small_model: Path,
    starter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hub(small_model, **behaviour) as (endpoint, _):
        use_hub(monkeypatch, tmp_path, endpoint)
        assert_starter(why, starter)


@pytest.mark.slow
def test_auto_with_a_hub_that_breaks_off(
    small_model: Path, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(small_model, truncate=True) as (endpoint, _):
        use_hub(monkeypatch, tmp_path, endpoint)
        assert_starter("the download broke off", starter)
    # What came is no model for the next start either.
    use_hub(monkeypatch, tmp_path, f"http://127.0.0.1:{refused_port()}")
    assert_starter("cannot be reached", starter)


@pytest.mark.slow
def test_auto_with_a_hub_that_stalls_in_mid_download(
    small_model: Path, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(small_model, stalls_at="/resolve/") as (endpoint, _):
        use_hub(monkeypatch, tmp_path, endpoint)
        assert_starter("the download broke off (nothing came for", starter, within_s=60)
    # What was given up goes on asking in the background until the hub has gone; nothing may hear it after this test.
    for thread in threading.enumerate():
        if thread.name == "hub-download":
            thread.join(timeout=60)


def test_a_named_model_that_cannot_be_had_is_refused_with_what_to_do(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(small_model) as (endpoint, _):
        use_hub(monkeypatch, tmp_path, endpoint)
        with pytest.raises(ModelRefusedError, match=r"no public model someone/else.*TROIKA_MODEL=starter"):
            resolve("someone/else")


def test_the_environment_decides_about_hub_and_cache(small_model: Path, tmp_path: Path) -> None:
    """HF_ENDPOINT and HF_HOME, in a process of its own as at a real start; and no torch is imported for it."""
    code = """
        import sys
        from app.engine.model_source import resolve
        source = resolve("auto")
        assert "torch" not in sys.modules
        print(source.name, source.folder)
    """
    with hub(small_model) as (endpoint, _):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=ROOT,
            env=environment | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert result.stdout.split() == ["gpt2", f"{tmp_path}/hub/models--gpt2/snapshots/{COMMIT}"], result.stderr
