"""Pictures of every kind that is read, damaged in every way: a digit comes out, or an ImageError, and nothing else."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from app.training.images import MAX_PIXELS, ImageError, normalize, read_array, read_image
from tests.chat.support import PROPERTY

# Pillow says of some that they look odd; that goes to the log.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

SIDE = 24


@cache
def seeds() -> list[bytes]:
    """Small valid pictures: every format, and every form that a format has pixels in."""
    grey = np.zeros((SIDE, SIDE), np.uint8)
    grey[4:20, 11:14] = 255
    plain = Image.fromarray(grey)
    palette = plain.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
    forms: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (plain, "PNG", {}),
        (plain.convert("1"), "PNG", {}),
        (plain.convert("LA"), "PNG", {}),
        (plain.convert("RGBA"), "PNG", {}),
        (Image.fromarray(grey.astype(np.uint16) * 257), "PNG", {}),
        (palette, "PNG", {}),
        (palette, "PNG", {"transparency": 0}),
        (palette, "PNG", {"transparency": bytes([0, 128, 255])}),
        (plain, "PNG", {"save_all": True, "append_images": [plain.rotate(90)]}),
        (plain, "JPEG", {}),
        (plain.convert("RGB"), "JPEG", {"progressive": True, "exif": bytes(Image.Exif().tobytes())}),
        (plain.convert("CMYK"), "JPEG", {}),
        (plain.convert("RGB"), "WEBP", {}),
        (plain.convert("RGBA"), "WEBP", {"lossless": True}),
        (plain.convert("RGB"), "WEBP", {"save_all": True, "append_images": [plain.convert("RGB").rotate(90)]}),
    ]
    contents = []
    for image, form, options in forms:
        out = io.BytesIO()
        image.save(out, form, **options)
        contents.append(out.getvalue())
    return contents


def digit_or_refusal(grey_of: Callable[[], NDArray[np.float32]]) -> None:
    """Grey levels become a digit, or an ImageError says why not."""
    said = ""
    try:
        grey = grey_of()
        digit = normalize(grey)
    except ImageError as error:
        said = str(error) or "nothing"
    if said:
        assert said != "nothing"
        return
    assert grey.ndim == 2
    assert 0 < grey.size <= MAX_PIXELS
    assert np.isfinite(grey).all()
    assert (digit.shape, digit.dtype) == ((28, 28), np.uint8)


def read_or_refuse(content: bytes) -> None:
    digit_or_refusal(lambda: read_image(content))


def test_every_seed_is_a_picture() -> None:
    for content in seeds():
        assert read_image(content).shape == (SIDE, SIDE)


edits = st.lists(
    st.tuples(
        st.sampled_from(["set", "delete", "insert", "repeat", "cut"]),
        st.integers(0, 2000),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


def damaged(content: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    data = bytearray(content)
    for kind, where, value in changes:
        at = where % (len(data) + 1)
        match kind:
            case "set":
                data[at : at + len(value)] = value
            case "delete":
                del data[at : at + len(value)]
            case "insert":
                data[at:at] = value
            case "repeat":
                data[at:at] = data[at : at + 40 * len(value)]
            case _:
                del data[at:]
    return bytes(data)


@PROPERTY
@given(number=st.integers(0, 14), changes=edits)
def test_a_damaged_picture_is_read_or_refused(number: int, changes: list[tuple[str, int, bytes]]) -> None:
    read_or_refuse(damaged(seeds()[number], changes))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


KINDS = [b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"gAMA", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"acTL"]
headers = st.builds(
    lambda *fields: struct.pack(">IIBBBBB", *fields),
    *(st.integers(0, 40) | st.integers(0, 2**32 - 1) for _ in range(2)),
    *(st.integers(0, 18) for _ in range(5)),
)
bodies = st.binary(max_size=60) | st.binary(max_size=600).map(zlib.compress) | headers


@PROPERTY
@given(header=headers, chunks=st.lists(st.tuples(st.sampled_from(KINDS), bodies), max_size=6))
def test_a_png_of_well_formed_nonsense_is_read_or_refused(header: bytes, chunks: list[tuple[bytes, bytes]]) -> None:
    """With checksums that are right, so that what the chunks say is believed."""
    parts = [chunk(b"IHDR", header), *(chunk(kind, body) for kind, body in chunks), chunk(b"IEND", b"")]
    read_or_refuse(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


numbers = st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=3)
rows = st.lists(st.lists(numbers | st.lists(numbers, max_size=2), max_size=4) | numbers, max_size=4)


@PROPERTY
@given(values=rows | st.lists(st.lists(st.integers(0, 255), min_size=3, max_size=3), min_size=1, max_size=4))
def test_any_json_is_read_as_pixels_or_refused(values: list[Any]) -> None:
    digit_or_refusal(lambda: read_array(values))
