"""The digits to learn from: MNIST from a file, Keras's cache or a checked download, else digits drawn by code.

No pickle is read, no archive larger than expected is unpacked, and a network that doesn't answer costs about five
seconds. Left to others: drawing (`digits`), scaling and batches (`batches`).
"""

from __future__ import annotations

import hashlib
import io
import os
import queue
import threading
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from app.training import digits
from app.training.files import write_atomically

MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
MNIST_BYTES = 11_490_434
MAX_UNPACKED_BYTES = 256 * 2**20
SILENCE_S = 5.0  # a server that says nothing for this long is given up
DOWNLOAD_S = 120.0

DIGITS_TRAIN, DIGITS_TEST = 60_000, 10_000
DIGITS_SEED = 1998  # train and test are drawn from this seed and the next

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]


class DatasetError(Exception):
    """The digits asked for can't be had; the message says where they were looked for and what was wrong."""


@dataclass(frozen=True)
class Dataset:
    """Images [n, 28, 28] uint8, white on black, with labels [n] uint8 from 0 to 9; `reason` says why these."""

    name: Literal["mnist", "digits"]
    reason: str
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels


def load(
    name: Literal["auto", "mnist", "digits"],
    path: Path | None = None,
    train_fraction: float = 1.0,
    *,
    url: str | None = MNIST_URL,
    environ: Mapping[str, str] = os.environ,
) -> Dataset:
    """The dataset of that name, with the first `train_fraction` of its training set.

    `path` is where the operator says MNIST is: no other place is then tried. `url` None: no download.
    `auto` never fails: it falls to `digits`. Raises DatasetError if `mnist` can't be had.
    """
    if name == "digits":
        return draw_digits("asked for", train_fraction)
    try:
        dataset = load_mnist(path, url=url, environ=environ)
    except DatasetError as error:
        if name == "mnist":
            raise
        return draw_digits(f"MNIST can't be had: {error}", train_fraction)
    count = max(1, round(len(dataset.train_labels) * train_fraction))
    return replace(dataset, train_images=dataset.train_images[:count], train_labels=dataset.train_labels[:count])


def draw_digits(reason: str, train_fraction: float = 1.0) -> Dataset:
    """The embedded dataset: always the same 60,000 (or the first fraction of them) and 10,000 digits."""
    train = digits.draw(max(1, round(DIGITS_TRAIN * train_fraction)), DIGITS_SEED)
    return Dataset("digits", reason, *train, *digits.draw(DIGITS_TEST, DIGITS_SEED + 1))


def load_mnist(
    path: Path | None = None, *, url: str | None = MNIST_URL, environ: Mapping[str, str] = os.environ
) -> Dataset:
    """MNIST from `path`; without one from Keras's cache, else downloaded into it. Raises DatasetError."""
    if path is not None:
        return read_mnist(path, f"read from {path}")
    cached = keras_cache(environ)
    if cached.is_file():
        try:
            return read_mnist(cached, f"read from Keras's cache, {cached}")
        except DatasetError as error:
            tried = str(error)
    else:
        tried = f"{cached} isn't there"
    if url is None:
        raise DatasetError(f"{tried}, and downloads are off")
    try:
        content = download(url, MNIST_SHA256, MNIST_BYTES)
    except DatasetError as error:
        raise DatasetError(f"{tried}; {error}") from error
    reason = f"downloaded from {url}"
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cached, content)
    except OSError as error:  # a read-only home or a full disk: this run has its data all the same
        reason += f" (not kept: {error})"
    return read_mnist(io.BytesIO(content), reason)


def keras_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """Where Keras keeps mnist.npz: under $KERAS_HOME, else ~/.keras."""
    home = environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "datasets" / "mnist.npz"


def read_mnist(source: Path | IO[bytes], reason: str) -> Dataset:
    """Read an npz archive laid out as Keras's mnist.npz, checking all of it. Raises DatasetError."""
    where = str(source) if isinstance(source, Path) else "the downloaded file"
    try:
        with zipfile.ZipFile(source) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MAX_UNPACKED_BYTES:
                raise DatasetError(f"{where} unpacks to {size:,} bytes; MNIST has 55 million")
        with np.load(source, allow_pickle=False) as arrays:
            missing = [key for key in ("x_train", "y_train", "x_test", "y_test") if key not in arrays]
            if missing:
                raise DatasetError(f"{where} lacks {', '.join(missing)}; it has {', '.join(arrays) or 'nothing'}")
            train = _checked(where, "train", arrays["x_train"], arrays["y_train"])
            test = _checked(where, "test", arrays["x_test"], arrays["y_test"])
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        detail = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DatasetError(f"{where} can't be read as mnist.npz: {detail}") from error
    return Dataset("mnist", reason, *train, *test)


def _checked(where: str, part: str, images: NDArray[np.generic], labels: NDArray[np.generic]) -> tuple[Images, Labels]:
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28) or not len(images):
        raise DatasetError(f"{where}: x_{part} is {images.dtype} {list(images.shape)}, not uint8 [n, 28, 28]")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise DatasetError(
            f"{where}: y_{part} is {labels.dtype} {list(labels.shape)}, not whole numbers [{len(images)}]"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > 9:
        raise DatasetError(f"{where}: y_{part} has labels from {low} to {high}, not from 0 to 9")
    return np.ascontiguousarray(images), labels.astype(np.uint8)


def download(url: str, sha256: str, max_bytes: int, *, silence: float = SILENCE_S, total: float = DOWNLOAD_S) -> bytes:
    """The bytes at `url`, given up after `silence` seconds without any or `total` seconds. Raises DatasetError.

    A thread does the talking, since looking up a name obeys no timeout; if it hangs, it is left behind.
    """
    chunks: queue.Queue[bytes | OSError | None] = queue.Queue()

    def fetch() -> None:
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "troika"})  # noqa: S310
            with urllib.request.urlopen(request, timeout=silence) as response:  # noqa: S310
                got = 0
                while got <= max_bytes and (chunk := response.read1(65536)):
                    got += len(chunk)
                    chunks.put(chunk)
            chunks.put(None)
        except OSError as error:  # URLError and HTTPError are OSErrors too
            chunks.put(error)

    deadline = time.monotonic() + total
    threading.Thread(target=fetch, name="mnist-download", daemon=True).start()
    content = bytearray()
    while True:
        try:
            item = chunks.get(timeout=max(0.0, min(silence, deadline - time.monotonic())))
        except queue.Empty:
            raise DatasetError(f"{url} did not answer within {silence:g} s, or took over {total:g} s") from None
        if isinstance(item, OSError):
            raise DatasetError(f"{url} could not be downloaded: {item}") from item
        if item is None:
            break
        content += item
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DatasetError(f"{url} gave {len(content):,} bytes with SHA-256 {found}, not {sha256}: not used")
    return bytes(content)
