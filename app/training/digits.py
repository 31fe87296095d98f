"""Handwritten-looking digits drawn by code: a stand-in for MNIST that needs no file and no network.

Each digit is written in several styles: strokes through a few waypoints (`STYLES`). An image moves the waypoints,
joins them by a smooth curve, bends, slants, turns and squeezes it, and inks it with a round pen of its own width. Size,
centring and intensity follow MNIST: a 20×20 box in 28×28 pixels, centre of mass in the middle, white on black.
Left to others: choosing between this and MNIST (`data`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

SIDE = 28
BOX = 20
POINTS = 56  # per image, along all its strokes
CHUNK = 500  # images drawn at once: their canvases stay in the cache
REACH = 8  # pixels a pen stroke may touch, across
BLANK = np.float32(1e3)  # squared distance of a pixel that no stroke comes near

Floats = NDArray[np.float32]

# Waypoints "x,y" in a square of 100, y downwards; "!" marks a sharp corner, ";" lifts the pen.
STYLES: dict[int, list[str]] = {
    0: [
        "50,2 22,15 12,50 22,85 50,98 78,85 88,50 78,15 50,2",
        "66,6 36,4 14,40 22,88 52,98 84,66 80,22 56,3 40,12",
        "36,10 14,46 24,90 56,97 86,58 78,14 46,3 28,22",
    ],
    1: [
        "50,0 50,50 50,100",
        "60,0 50,50 40,100",
        "50,0 50,50 50,100",
        "28,24 54,0! 52,50 52,100",
        "32,22 52,0! 52,50 52,100; 24,100 80,99",
    ],
    2: [
        "15,25 35,3 65,4 80,25 65,52 15,95! 50,94 85,95",
        "18,25 40,3 70,8 78,32 55,65 28,92 14,88 22,76 45,84 65,97 90,90",
        "15,22 45,0 78,22 60,60 18,95! 50,88 88,98",
        "25,18 52,2 72,20 62,55 40,84 14,94 10,82 30,78 60,92 96,88",
        "10,10 40,4 74,6 78,26 48,62 14,96! 60,92 100,94",
        "14,20 44,2 66,18 58,56 30,90! 64,84 84,98",
    ],
    3: [
        "18,12 50,0 78,18 70,40 42,48! 75,58 85,80 55,100 15,88",
        "15,5 80,5! 45,42! 80,58 82,85 50,100 15,90",
        "20,14 48,0 74,16 66,38 44,46 72,56 80,78 52,99 14,92",
        "16,8 50,0 82,10 60,36 38,46 66,52 78,74 56,96 18,100",
    ],
    4: [
        "25,0 16,48 22,58! 55,57 90,54; 72,0 68,50 64,100",
        "62,0 36,34 10,66! 50,66 92,65; 64,2 64,50 64,100",
        "22,5 18,40 36,54 70,46 80,4! 74,50 66,100",
        "28,8 14,56! 50,56 84,50; 78,10 70,50 60,100",
        "66,2 30,30 14,54 40,58 70,50; 70,0 66,50 62,100",
    ],
    5: [
        "80,5 55,5 30,5! 22,45! 50,38 80,55 78,85 48,100 12,88",
        "28,5 22,45! 50,40 80,58 75,88 45,100 12,90; 28,5 60,4 88,2",
        "82,6 44,6 28,26 36,42 66,56 72,80 46,99 12,90",
        "92,2 62,4 40,10! 30,44! 56,46 68,66 54,90 10,96",
        "44,14 36,42! 60,50 68,74 44,98 8,92; 44,14 74,8 106,0",
        "84,0 50,8 34,16! 44,42 62,58 60,84 30,98 6,82",
        "70,4 30,6! 26,40! 60,40 76,66 56,96 22,98 10,80",
    ],
    6: [
        "70,2 35,25 15,65 30,97 65,95 78,72 55,52 22,68",
        "58,0 30,36 18,74 38,99 70,90 72,64 46,56 20,76",
        "40,0 18,40 16,80 40,99 72,90 70,66 42,62 18,82",
        "80,4 44,22 16,62 24,94 54,98 66,78 48,66 22,82",
    ],
    7: [
        "12,8 50,6 85,5! 55,50 40,100",
        "12,8 50,6 85,5! 55,50 40,100; 34,52 56,50 80,47",
        "12,24 15,6! 50,7 85,8! 60,50 45,100",
        "10,12 40,5 80,8 76,32 58,64 48,100",
        "10,16 34,8 78,6! 64,40 58,100",
    ],
    8: [
        "72,12 45,0 22,18 40,42 68,60 75,85 48,100 22,85 30,60 60,42 78,20 66,6",
        "50,47 25,35 28,10 52,0 76,12 72,35 50,47 20,62 18,88 50,100 82,88 80,62 50,47",
        "78,10 50,2 28,18 42,42 62,60 66,84 44,98 26,84 36,60 62,40 80,18",
        "60,46 34,36 30,12 54,0 76,16 62,40 36,64 24,86 46,100 66,86 58,60 40,40",
        "84,8 54,0 26,16 40,40 62,58 60,86 36,100 20,84 40,60 66,42 92,20",
        "66,26 52,4 28,16 36,38 60,54 70,78 50,98 28,86 36,64 58,46 72,24 62,8",
    ],
    9: [
        "75,20 50,2 22,20 28,45 55,48 75,22! 74,60 68,100",
        "76,22 52,2 22,18 26,44 54,48 76,20! 78,60 65,92 35,98",
        "72,8 38,5 20,28 36,48 64,36 74,8! 62,60 52,100",
        "72,26 52,4 26,16 24,40 50,46 72,26! 68,60 64,100",
        "78,12 44,4 18,30 34,50 66,34 78,14 62,60 44,100",
    ],
}


@dataclass(frozen=True)
class Style:
    """One way to write a digit: curve points [POINTS, 2] are `basis` [POINTS, n] @ `waypoints` [n, 2]."""

    basis: Floats
    waypoints: Floats


def draw(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """`count` images [count, 28, 28] uint8 and their labels [count] uint8.

    The same seed gives the same images; fewer of them are the first of more.
    """
    if count < 1:
        raise ValueError(f"cannot draw {count} digits")
    chunks = -(-count // CHUNK)
    images = np.empty((chunks * CHUNK, SIDE, SIDE), dtype=np.uint8)
    labels = np.empty(chunks * CHUNK, dtype=np.uint8)
    for index in range(chunks):
        rows = slice(index * CHUNK, (index + 1) * CHUNK)
        images[rows], labels[rows] = _draw_chunk(np.random.default_rng([seed, index]))
    return images[:count], labels[:count]


def _draw_chunk(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    labels = rng.integers(0, 10, CHUNK).astype(np.uint8)
    points = np.empty((CHUNK, POINTS, 2), dtype=np.float32)
    choice = rng.random(CHUNK)
    for digit, styles in all_styles().items():
        for number, style in enumerate(styles):
            rows = np.flatnonzero((labels == digit) & ((choice * len(styles)).astype(int) == number))
            moved = style.waypoints + _normal(rng, (len(rows), *style.waypoints.shape), 7.0)
            points[rows] = style.basis @ moved
    points = _bend(points, rng)
    radius = np.clip(rng.normal(1.55, 0.45, CHUNK), 0.7, 2.7).astype(np.float32)
    points = _place(points, radius, rng)
    return _ink(points, radius, rng), labels


def _bend(points: Floats, rng: np.random.Generator) -> Floats:
    """Elastic, then affine variation of points [n, POINTS, 2] around the square's middle."""
    n = len(points)
    points = (points / 50 - 1).astype(np.float32)
    for _ in range(2):  # a plane wave of random direction, length, phase and push
        wave = _normal(rng, (n, 1, 2), 1.6)
        phase = rng.uniform(0, 2 * np.pi, (n, 1)).astype(np.float32)
        push = _normal(rng, (n, 1, 2), 0.09)
        points = points + push * np.sin((points * wave).sum(2) + phase)[..., None]
    angle = _normal(rng, n, 0.18)
    slant = _normal(rng, n, 0.3) + np.float32(0.15)
    width = rng.uniform(0.55, 1.3, n).astype(np.float32)
    x, y = points[..., 0] * width[:, None], points[..., 1]
    x = x - slant[:, None] * y
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=2)


def _place(points: Floats, radius: Floats, rng: np.random.Generator) -> Floats:
    """Scale points so that the ink fits the 20×20 box, and put their centre of mass in the middle."""
    extent = (points.max(1) - points.min(1)).max(1)
    scale = (BOX * rng.uniform(0.88, 1.04, len(points)).astype(np.float32) - 2 * radius) / extent
    points = points * scale[:, None, None]
    middle = np.float32((SIDE - 1) / 2)
    points = points - points.mean(1, keepdims=True)
    return points + middle + _normal(rng, (len(points), 1, 2), 1.0)


def _ink(points: Floats, radius: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Images [n, 28, 28] of a round pen of `radius` [n] pixels led through points [n, POINTS, 2]."""
    n = len(points)
    squared = np.full(n * SIDE * SIDE, BLANK, dtype=np.float32)  # distance² of each pixel to the nearest point
    first = np.arange(n)[:, None] * (SIDE * SIDE)
    steps = np.arange(REACH)
    offsets = (steps[:, None] * SIDE + steps).reshape(1, -1)
    corner = np.clip(np.floor(points).astype(np.intp) - (REACH // 2 - 1), 0, SIDE - REACH)
    away = ((corner[..., None] + steps).astype(np.float32) - points[..., None]) ** 2  # [n, POINTS, 2, REACH]
    start = corner[..., 1] * SIDE + corner[..., 0]
    # One point of every image at a time: no two of these windows share a pixel.
    for k in range(points.shape[1]):
        where = first + start[:, k, None] + offsets
        distance = (away[:, k, 1, :, None] + away[:, k, 0, None, :]).reshape(n, -1)
        squared[where] = np.minimum(squared[where], distance)
    edge = radius[:, None] + np.float32(0.6) - np.sqrt(squared.reshape(n, -1))
    soft = rng.uniform(0.7, 1.4, (n, 1)).astype(np.float32)
    ink = np.clip(edge / soft, 0, 1)
    ink *= 1 + _normal(rng, ink.shape, 0.04)
    return (np.clip(ink, 0, 1) * 255).astype(np.uint8).reshape(n, SIDE, SIDE)


def _normal(rng: np.random.Generator, shape: int | tuple[int, ...], sigma: float) -> Floats:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma)


@cache
def all_styles() -> dict[int, list[Style]]:
    """The styles of every digit, ready to draw."""
    return {digit: [_parse(text) for text in texts] for digit, texts in STYLES.items()}


def _parse(text: str) -> Style:
    """Turn waypoints into a basis: Catmull-Rom curves between corners, POINTS points spread evenly by length."""
    waypoints: list[tuple[float, float]] = []
    curves: list[list[int]] = []  # indices of the waypoints of each smooth piece
    for stroke in text.split(";"):
        piece: list[int] = []
        words = stroke.split()
        for position, word in enumerate(words):
            x, y = word.rstrip("!").split(",")
            waypoints.append((float(x), float(y)))
            piece.append(len(waypoints) - 1)
            if word.endswith("!") or position == len(words) - 1:
                curves.append(piece)
                piece = [len(waypoints) - 1]
    places = np.array(waypoints)
    fine = np.concatenate([_catmull_rom(curve, len(places)) for curve in curves])
    step = np.linalg.norm(np.diff(fine @ places, axis=0), axis=1)
    step[np.cumsum([len(_catmull_rom(c, len(places))) for c in curves])[:-1] - 1] = 0  # pen lifted, or a corner
    along = np.concatenate([[0.0], np.cumsum(step)])
    wanted = np.linspace(0, along[-1], POINTS)
    rows = np.clip(np.searchsorted(along, wanted), 0, len(fine) - 1)
    return Style(fine[rows].astype(np.float32), places.astype(np.float32))


def _catmull_rom(indices: list[int], count: int, per_segment: int = 32) -> NDArray[np.float64]:
    """Basis [m, count] of the curve through the waypoints at `indices`, whose ends are repeated."""
    padded = [indices[0], *indices, indices[-1]]
    t = np.linspace(0, 1, per_segment)
    blend = 0.5 * np.stack(
        [-(t**3) + 2 * t**2 - t, 3 * t**3 - 5 * t**2 + 2, -3 * t**3 + 4 * t**2 + t, t**3 - t**2], axis=1
    )
    basis = np.zeros(((len(indices) - 1) * per_segment, count))
    for segment in range(len(indices) - 1):
        rows = slice(segment * per_segment, (segment + 1) * per_segment)
        for column, index in enumerate(padded[segment : segment + 4]):
            basis[rows, index] += blend[:, column]
    return basis
