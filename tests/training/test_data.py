"""Where digits come from, and what is refused."""

from __future__ import annotations

import hashlib
import http.server
import io
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.training import data
from app.training.data import DatasetError, download, keras_cache, load, load_mnist, read_mnist


def arrays(**changes: Any) -> dict[str, Any]:
    """A small archive's content in mnist.npz's layout."""
    rng = np.random.default_rng(0)
    good = {
        "x_train": rng.integers(0, 256, (40, 28, 28), dtype=np.uint8),
        "y_train": rng.integers(0, 10, 40, dtype=np.uint8),
        "x_test": rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "y_test": rng.integers(0, 10, 20, dtype=np.uint8),
    }
    return {key: value for key, value in (good | changes).items() if value is not None}


def archive(path: Path, **changes: Any) -> Path:
    np.savez_compressed(path, **arrays(**changes))
    return path


def test_a_good_file_is_read_whole(tmp_path: Path) -> None:
    dataset = load("mnist", archive(tmp_path / "m.npz"))
    assert dataset.name == "mnist"
    assert "m.npz" in dataset.reason
    assert np.array_equal(dataset.train_images, arrays()["x_train"])
    assert np.array_equal(dataset.test_labels, arrays()["y_test"])
    assert len(load("mnist", tmp_path / "m.npz", 0.25).train_labels) == 10


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y_test": None}, "lacks y_test"),
        ({"x_train": np.zeros((40, 784), np.uint8)}, "x_train is uint8 [40, 784]"),
        ({"x_train": np.zeros((40, 28, 28), np.float32)}, "x_train is float32"),
        ({"x_test": np.zeros((0, 28, 28), np.uint8), "y_test": np.zeros(0, np.uint8)}, "x_test"),
        ({"y_train": np.zeros(39, np.uint8)}, "y_train is uint8 [39]"),
        ({"y_train": np.zeros(40, np.float64)}, "y_train is float64"),
        ({"y_train": np.full(40, 10, np.uint8)}, "labels from 10 to 10"),
        ({"y_train": np.full(40, -1, np.int64)}, "labels from -1 to -1"),
        ({"y_train": np.array([object()] * 40)}, "can't be read"),
    ],
)
def test_a_wrong_layout_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DatasetError) as caught:
        load("mnist", archive(tmp_path / "m.npz", **changes))
    assert said in str(caught.value)
    assert "m.npz" in str(caught.value)


def test_truncated_corrupt_and_missing_files_are_refused(tmp_path: Path) -> None:
    content = archive(tmp_path / "good.npz").read_bytes()
    spoilt = bytearray(content)
    spoilt[len(content) // 2] ^= 0xFF
    for name, broken in (("cut", content[: len(content) // 2]), ("spoilt", bytes(spoilt)), ("empty", b"")):
        path = tmp_path / name
        path.write_bytes(broken)
        with pytest.raises(DatasetError, match="can't be read"):
            load("mnist", path)
    with pytest.raises(DatasetError, match="No such file"):
        load("mnist", tmp_path / "absent")
    with pytest.raises(DatasetError, match="directory"):
        load("mnist", tmp_path)


def test_every_truncation_is_a_dataset_error(tmp_path: Path) -> None:
    content = archive(tmp_path / "good.npz").read_bytes()
    for length in range(0, len(content), len(content) // 50):
        with pytest.raises(DatasetError):
            read_mnist(io.BytesIO(content[:length]), "a test")


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("x_train.npy", bytes(data.MAX_UNPACKED_BYTES + 1))
    with pytest.raises(DatasetError, match="unpacks to"):
        load("mnist", path)


def test_auto_falls_to_digits_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "absent.npz"
    dataset = load("auto", path, 0.001)
    assert dataset.name == "digits"
    assert str(path) in dataset.reason
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (60, 10_000)
    assert load("digits", path, 0.001).reason == "asked for"


def test_keras_s_cache_comes_before_the_network(tmp_path: Path) -> None:
    environ = {"KERAS_HOME": str(tmp_path)}
    assert keras_cache({}) == Path.home() / ".keras" / "datasets" / "mnist.npz"
    path = keras_cache(environ)
    with pytest.raises(DatasetError, match="isn't there, and downloads are off"):
        load_mnist(url=None, environ=environ)
    path.parent.mkdir()
    archive(path)
    assert "Keras's cache" in load_mnist(url=None, environ=environ).reason
    path.write_bytes(b"spoilt")
    with pytest.raises(DatasetError, match="can't be read"):
        load_mnist(url=None, environ=environ)


@contextmanager
def server(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}/mnist.npz"
        finally:
            running.shutdown()
            thread.join()


def serve(content: bytes, status: int = 200) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def test_a_download_is_checked_kept_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = archive(tmp_path / "m.npz").read_bytes()
    monkeypatch.setattr(data, "MNIST_SHA256", hashlib.sha256(content).hexdigest())
    environ = {"KERAS_HOME": str(tmp_path / "keras")}
    with server(serve(content)) as url:
        dataset = load_mnist(url=url, environ=environ)
        assert dataset.reason == f"downloaded from {url}"
    path = keras_cache(environ)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]
    assert "cache" in load_mnist(url=url, environ=environ).reason  # the server is gone


def test_a_download_that_can_t_be_kept_still_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = archive(tmp_path / "m.npz").read_bytes()
    monkeypatch.setattr(data, "MNIST_SHA256", hashlib.sha256(content).hexdigest())
    (tmp_path / "file").write_text("in the way of a folder")
    with server(serve(content)) as url:
        dataset = load_mnist(url=url, environ={"KERAS_HOME": str(tmp_path / "file")})
    assert "not kept" in dataset.reason
    assert len(dataset.train_labels) == 40


def test_a_wrong_checksum_is_not_used_and_not_kept(tmp_path: Path) -> None:
    environ = {"KERAS_HOME": str(tmp_path / "keras")}
    with server(serve(b"something else")) as url, pytest.raises(DatasetError, match="SHA-256"):
        load_mnist(url=url, environ=environ)
    assert not keras_cache(environ).exists()


def test_a_refusal_is_told() -> None:
    with server(serve(b"", 404)) as url, pytest.raises(DatasetError, match="404"):
        download(url, "", 10)


def test_more_than_expected_is_not_read_on() -> None:
    with server(serve(bytes(10_000_000))) as url, pytest.raises(DatasetError, match="SHA-256"):
        download(url, "", 1000)


def test_a_server_that_takes_the_call_and_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(DatasetError, match=r"did not answer|timed out"):
            download(f"http://127.0.0.1:{silent.getsockname()[1]}/", "", 10, silence=0.3)
        assert time.monotonic() - began < 3


def test_a_server_that_trickles_is_given_up_in_the_end() -> None:
    stop = threading.Event()

    def trickle(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not stop.wait(0.05):
            handler.wfile.write(b".")

    with server(trickle) as url:
        with pytest.raises(DatasetError, match="took over"):
            download(url, "", 1_000_000, silence=1, total=0.5)
        stop.set()
