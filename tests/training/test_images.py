"""Pictures of digits: as MNIST would hold them, or a sentence that says why not."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.training.data import Dataset
from app.training.images import ImageError, encode_png, normalize, read_array, read_image


def png(image: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **options)
    return out.getvalue()


def drawing(size: int, mode: str, paper: Any, ink: Any, at: float = 0.3) -> Image.Image:
    """A seven, a third of the picture high."""
    image = Image.new(mode, (size, size), paper)
    points = [(at * size, at * size), ((at + 0.2) * size, at * size), ((at + 0.1) * size, (at + 0.33) * size)]
    ImageDraw.Draw(image).line(points, fill=ink, width=max(2, size // 40))
    return image


def centre(image: NDArray[np.uint8]) -> tuple[float, float]:
    mass = image.astype(float)
    place = np.arange(28)
    return float((mass.sum(1) * place).sum() / mass.sum()), float((mass.sum(0) * place).sum() / mass.sum())


def box(image: NDArray[np.uint8]) -> tuple[int, int]:
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def test_the_same_drawing_on_any_ground_is_the_same_digit() -> None:
    pictures = [
        drawing(200, "L", 0, 255),
        drawing(200, "L", 255, 0),
        drawing(200, "RGB", (250, 245, 240), (20, 10, 90)),
        drawing(200, "RGBA", (0, 0, 0, 0), (0, 0, 0, 255)),
        drawing(200, "RGBA", (0, 0, 0, 0), (255, 255, 255, 255)),
        drawing(200, "1", 1, 0),
        drawing(200, "I;16", 65535, 0),
        drawing(200, "RGB", "white", "black").convert("P"),
    ]
    digits = [normalize(read_image(png(picture))) for picture in pictures]
    for digit in digits:
        assert digit.dtype == np.uint8
        assert max(box(digit)) == 20
        assert digit.max() == 255
        assert centre(digit) == pytest.approx((14, 14), abs=0.6)
        assert np.abs(digit.astype(int) - digits[0]).max() <= 3


def test_place_and_size_in_the_picture_do_not_matter() -> None:
    near = normalize(read_image(png(drawing(280, "L", 255, 0, at=0.05))))
    far = normalize(read_image(png(drawing(280, "L", 255, 0, at=0.6))))
    small = normalize(read_image(png(drawing(90, "L", 255, 0))))
    assert np.abs(near.astype(int) - far).max() <= 40
    assert np.abs(near.astype(int) - small).mean() < 12


def test_aspect_is_kept_at_its_extremes() -> None:
    line = np.zeros((300, 300), np.float32)
    line[:, 150] = 255
    assert box(normalize(line)) == (20, 1)
    assert box(normalize(line.T)) == (1, 20)
    dot = np.zeros((100, 100), np.float32)
    dot[50, 50] = 255
    assert box(normalize(dot)) == (20, 20)


def test_mnist_s_digits_stay_as_they_are(mnist: Dataset) -> None:
    same = [np.array_equal(normalize(image.astype(np.float32)), image) for image in mnist.test_images[:1000]]
    assert sum(same) > 850
    moved = [normalize(255 - np.pad(image.astype(np.float32), (3, 40))) for image in mnist.test_images[:1000]]
    again = [np.array_equal(a, b) for a, b in zip(moved, mnist.test_images[:1000], strict=True)]
    assert sum(again) > 850


def test_grain_does_not_widen_the_box() -> None:
    rng = np.random.default_rng(0)
    grey = np.asarray(drawing(200, "L", 200, 30), dtype=np.float32) + rng.normal(0, 4, (200, 200)).astype(np.float32)
    clean = normalize(np.asarray(drawing(200, "L", 200, 30), dtype=np.float32))
    assert np.abs(normalize(np.clip(grey, 0, 255)).astype(int) - clean).mean() < 15


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_picture_is_told(level: int) -> None:
    with pytest.raises(ImageError, match="blank"):
        normalize(np.full((50, 50), level, np.float32))


def test_bad_uploads_are_told() -> None:
    good = png(drawing(100, "L", 0, 255))
    for content, said in [
        (b"", "not a picture"),
        (b"<svg/>", "not a picture"),
        (good[: len(good) // 2], "damaged"),
        (good[:50] + b"\0" * 20 + good[70:], "damaged"),
        (bytes(5 * 2**20), "bytes"),
        (png(Image.new("RGBA", (9, 9), (0, 0, 0, 0))), "transparent"),
    ]:
        with pytest.raises(ImageError, match=said):
            read_image(content)


@pytest.mark.parametrize("side", [5_000, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    with pytest.raises(ImageError, match="pixels"):
        read_image(bomb)


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_be_refused(content: bytes) -> None:
    with pytest.raises(ImageError):
        read_image(content)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_picture_with_one_byte_changed_is_read_or_refused(position: int, value: int) -> None:
    content = bytearray(png(drawing(60, "RGBA", (255, 255, 255, 255), (0, 0, 0, 255))))
    content[position % len(content)] = value
    with suppress(ImageError):
        assert normalize(read_image(bytes(content))).shape == (28, 28)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "rows of numbers"),
        ([1, 2, 3], "rows of numbers"),
        ([[1, 2], [3]], "differ"),
        ([["a", "b"], ["c", "d"]], "rows of numbers"),
        ([[True, False]], "rows of numbers"),
        ([[None, 1], [1, 1]], "rows of numbers"),
        ([[0, 256]], "between 0 and 255"),
        ([[-1, 0]], "between 0 and 255"),
        ([[float("nan"), 0]], "between 0 and 255"),
        ([[[1]]], "rows of numbers"),
        ([[10**400, 1]], "rows of numbers"),
    ],
)
def test_bad_arrays_are_told(values: Any, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        read_array(values)


def test_an_array_is_taken_as_it_is() -> None:
    assert np.array_equal(read_array([[0, 12.5], [255, 3]]), np.array([[0, 12.5], [255, 3]], np.float32))


def test_a_digit_survives_its_png() -> None:
    digit = normalize(np.asarray(drawing(100, "L", 0, 255), dtype=np.float32))
    content = encode_png(digit)
    assert len(content) < 600
    assert np.array_equal(read_image(content), digit)
