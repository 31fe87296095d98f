"""The embedded digits: the same every time, and of use."""

from __future__ import annotations

import numpy as np
import pytest

from app.training import digits
from app.training.data import Dataset, draw_digits
from app.training.options import TrainingOptions
from app.training.trainer import build_model


def test_a_seed_gives_the_same_digits_and_fewer_are_the_first_of_more() -> None:
    images, labels = digits.draw(1200, 5)
    again, same = digits.draw(700, 5)
    assert np.array_equal(images[:700], again)
    assert np.array_equal(labels[:700], same)
    assert not np.array_equal(images, digits.draw(1200, 6)[0])


def test_they_look_like_mnist() -> None:
    images, labels = digits.draw(5000, 1)
    assert images.dtype == labels.dtype == np.uint8
    assert images.shape == (5000, 28, 28)
    assert np.bincount(labels).min() > 400
    # MNIST: 19 % of the pixels have ink, the mean is 33; the centre of mass lies in the middle.
    assert 0.15 < (images > 0).mean() < 0.25
    assert 25 < images.mean() < 45
    mass = images.astype(float).mean(0)
    place = np.arange(28)
    assert (mass.sum(0) * place).sum() / mass.sum() == pytest.approx(13.5, abs=0.7)
    assert (mass.sum(1) * place).sum() / mass.sum() == pytest.approx(13.5, abs=0.7)
    assert (images.reshape(5000, -1).max(1) > 150).all()  # none is blank


def test_every_style_draws_within_its_square() -> None:
    for styles in digits.all_styles().values():
        for style in styles:
            points = style.basis @ style.waypoints
            assert points.shape == (digits.POINTS, 2)
            assert points.min() > -20
            assert points.max() < 120
            # No two neighbouring points are far apart, but where the pen is lifted.
            assert (np.linalg.norm(np.diff(points, axis=0), axis=1) > 25).sum() <= 1


def test_nothing_is_drawn_of_nothing() -> None:
    with pytest.raises(ValueError, match="0"):
        digits.draw(0, 1)


@pytest.mark.slow
def test_who_learns_them_alone_reads_handwriting(mnist: Dataset) -> None:
    drawn = draw_digits("a test")
    model = build_model(TrainingOptions(seed=1).resolved())
    model.fit(drawn.train_images, drawn.train_labels, epochs=5, batch_size=32)
    assert model.evaluate(mnist.test_images, mnist.test_labels)["accuracy"] >= 0.90
