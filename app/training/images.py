"""Any picture of a digit to 28×28, the way MNIST's were made, and 28×28 back to a small PNG.

MNIST: white on black, cropped, scaled into a 20×20 box with its aspect kept, then put into 28×28 with its centre of
mass in the middle. A digit of MNIST comes out as it went in. Needs Pillow and numpy only.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

SIDE = 28
BOX = 20
MAX_BYTES = 4 * 2**20
MAX_PIXELS = 8_000_000
MIN_CONTRAST = 20.0  # of 255, between the background and the strongest stroke
FORMATS = ("PNG", "JPEG", "WEBP")


class ImageError(ValueError):
    """The picture can't be used; the message says why."""


def read_image(content: bytes) -> NDArray[np.float32]:
    """Grey levels [height, width], 0 to 255, of an encoded picture. Raises ImageError.

    What is transparent becomes white behind a dark drawing and black behind a light one.
    """
    if len(content) > MAX_BYTES:
        raise ImageError(f"the picture has {len(content):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(f"the picture has {width}×{height} pixels; at most {MAX_PIXELS:,} are decoded")
            if image.mode.startswith("I"):  # 16 bits of grey, which `convert` would clip
                return np.asarray(image, dtype=np.float32) / np.float32(257)
            pixels = np.asarray(image.convert("LA"), dtype=np.float32)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"the picture is too large: at most {MAX_PIXELS:,} pixels are decoded") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"the upload is not a picture in {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        raise ImageError(f"the picture is damaged: {error}") from error
    grey, alpha = pixels[..., 0], pixels[..., 1] / 255
    if not alpha.any():
        raise ImageError("the picture is wholly transparent")
    behind = 255.0 if float((grey * alpha).sum() / alpha.sum()) < 128 else 0.0
    return (grey * alpha + behind * (1 - alpha)).astype(np.float32)


def read_array(values: Sequence[Sequence[Any]]) -> NDArray[np.float32]:
    """Grey levels [height, width] from rows of numbers, 0 to 255. Raises ImageError."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ImageError("the image's rows differ in length") from error
    if array.ndim != 2 or array.dtype.kind not in "iuf" or not array.size:
        raise ImageError(f"the image must be rows of numbers, such as 28 rows of 28, not {list(array.shape)}")
    if array.size > MAX_PIXELS:
        raise ImageError(f"the image has {array.size:,} pixels; at most {MAX_PIXELS:,} are used")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise ImageError("the image's numbers must lie between 0 and 255")
    return array.astype(np.float32)


def normalize(grey: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A digit [height, width] in grey levels of 0 to 255, either way round, as MNIST would hold it: [28, 28] uint8.

    Raises ImageError if there is nothing to see.
    """
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    background = float(np.median(edge))
    ink = grey - background if background < 128 else background - grey
    strongest = float(ink.max())
    if strongest < MIN_CONTRAST:
        raise ImageError("the picture is blank: nothing stands out from its background")
    # Clean backgrounds keep every faint pixel; the grain of a photograph is cut off.
    grain = min(6 * float(np.abs(edge - background).mean()), 0.5 * strongest)
    ink = np.clip(ink, 0, None) * (ink > grain) * (255 / strongest)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    scale = BOX / max(cropped.shape)
    height, width = (max(1, round(scale * side)) for side in cropped.shape)
    if (height, width) != cropped.shape:
        resized = Image.fromarray(cropped).resize((width, height), Image.Resampling.BILINEAR)
        cropped = np.asarray(resized)
        cropped = cropped * (255 / max(float(cropped.max()), 1.0))
    return _centre(cropped)


def _centre(digit: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Place [h, w] (at most 20×20) in [28, 28] with its centre of mass in the middle, as far as it fits."""
    mass = digit.sum()
    starts = []
    for axis, side in enumerate(digit.shape):
        centre = float((digit.sum(1 - axis) * np.arange(side)).sum() / mass)
        starts.append(min(max(round(SIDE / 2 - centre - 1e-6), 0), SIDE - side))
    out = np.zeros((SIDE, SIDE), dtype=np.uint8)
    top, left = starts
    out[top : top + digit.shape[0], left : left + digit.shape[1]] = np.clip(np.rint(digit), 0, 255)
    return out


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """A grey PNG of [height, width] uint8."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", optimize=True)
    return out.getvalue()
