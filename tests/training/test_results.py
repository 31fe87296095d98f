"""Metrics, plots, weights on disk and predictions from them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from safetensors.numpy import save

from app.training.data import Dataset
from app.training.images import read_image
from app.training.metrics import accuracy, confident_mistakes, confusion_matrix, softmax
from app.training.options import TrainingOptions
from app.training.plots import plot_comparison, plot_run
from app.training.predictor import Predictor
from app.training.trainer import Trained, train
from app.training.weights import FORMAT, WeightsError, load_weights, save_weights

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def trained(small: Dataset) -> Trained:
    options = TrainingOptions(epochs=3, hidden_units=[48, 24], validation_split=0.2, seed=1)
    return train(options, small)


def test_metrics_on_a_case_done_by_hand() -> None:
    labels = np.array([0, 1, 2, 2], np.uint8)
    probabilities = np.array([[0.8, 0.1, 0.1], [0.9, 0.05, 0.05], [0.1, 0.2, 0.7], [0.3, 0.6, 0.1]])
    predicted = probabilities.argmax(1)
    assert accuracy(predicted, labels) == 0.5
    assert confusion_matrix(predicted, labels, 3).tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1]]
    images = np.arange(4 * 28 * 28, dtype=np.uint8).reshape(4, 28, 28)
    first, second = confident_mistakes(probabilities, labels, images)
    assert (first.index, first.label, first.predicted, first.confidence) == (1, 1, 0, 0.9)
    assert (second.index, second.confidence) == (3, 0.6)
    assert np.array_equal(read_image(base64.b64decode(first.image)), images[1])
    assert len(confident_mistakes(probabilities, labels, images, 1)) == 1


def test_softmax_bears_large_logits() -> None:
    assert softmax(np.array([[1e4, 0.0], [-1e4, 0.0]], np.float32)).tolist() == [[1, 0], [0, 1]]


def test_the_result_tells_all_and_is_json(trained: Trained, small: Dataset) -> None:
    result = json.loads(json.dumps(trained.result, allow_nan=False))
    assert result["dataset"] == {"name": "digits", "reason": "a test", "train": 960, "validation": 240, "test": 10_000}
    assert [epoch["epoch"] for epoch in result["history"]] == [1, 2, 3]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "seconds"} <= set(result["history"][0])
    matrix = np.array(result["confusion_matrix"])
    assert matrix.sum() == 10_000
    assert matrix.trace() / 10_000 == pytest.approx(result["test_accuracy"])
    assert result["test_accuracy"] > 0.3
    assert len(result["mistakes"]) == 16
    assert sum(line["parameters"] for line in result["summary"]) == result["cost"]["parameters"]
    assert result["cost"]["steps_per_epoch"] == 30
    assert result["cost"]["predicted_step_s"] > 0
    assert result["cost"]["measured_step_s"] > 0


def test_predictions_in_numpy_equal_the_model_s(trained: Trained, small: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(path, trained.model.weights, trained.architecture)
    assert list(tmp_path.iterdir()) == [path]
    predictor = Predictor.load(path)
    images = small.test_images[:200]
    expected = softmax(trained.model.predict(images))
    np.testing.assert_allclose(predictor.probabilities(images), expected, rtol=1e-4, atol=1e-6)
    one = predictor.predict(images[0])
    assert one.digit == int(expected[0].argmax())
    assert sum(one.probabilities) == pytest.approx(1)
    assert len(one.probabilities) == 10


def test_spoilt_weights_are_refused(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    weights, architecture = trained.model.weights, trained.architecture
    save_weights(path, weights, architecture)
    content = path.read_bytes()
    for broken in (b"", content[:100], content[:-1], b"\xff" * 100):
        path.write_bytes(broken)
        with pytest.raises(WeightsError):
            Predictor.load(path)
    lacking = {name: array for name, array in weights.items() if name != "dense.bias"}
    nan = weights | {"dense.bias": np.full_like(weights["dense.bias"], np.nan)}
    for tensors, layers in [
        (lacking, architecture),
        (nan, architecture),
        (weights | {"more": weights["dense.bias"]}, architecture),
        (weights, architecture | {"layers": architecture["layers"][:-1]}),
        (weights, architecture | {"layers": [{"type": "Dense"}]}),
        (weights, {}),
    ]:
        save_weights(path, tensors, layers)
        with pytest.raises(WeightsError, match="weights"):
            Predictor.load(path)
    path.write_bytes(save({"a": np.zeros(3, np.float32)}))
    with pytest.raises(WeightsError, match="not a classifier"):
        load_weights(path)
    path.write_bytes(save({"a": np.zeros(3, np.float32)}, {"format": FORMAT, "architecture": "{"}))
    with pytest.raises(WeightsError, match="architecture"):
        load_weights(path)
    with pytest.raises(OSError, match="absent"):
        Predictor.load(tmp_path / "absent")


def test_a_run_s_picture_as_png_and_svg(trained: Trained) -> None:
    history, matrix = trained.result["history"], trained.result["confusion_matrix"]
    assert plot_run(history, matrix, title="a run").startswith(PNG)
    svg = plot_run(history, matrix, title="costs $5 & <more>", format="svg")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert plot_run(history).startswith(PNG)
    assert plot_run([]).startswith(PNG)  # nothing has finished yet
    assert plot_run([{"epoch": 1, "loss": None, "accuracy": 0.1}]).startswith(PNG)  # a diverged run


def test_several_runs_in_one_picture(trained: Trained) -> None:
    history = trained.result["history"]
    assert plot_comparison({"first": history, "$second_": history[:1]}).startswith(PNG)
    assert b"<svg" in plot_comparison({"first": history}, format="svg")
    with pytest.raises(ValueError, match="no runs"):
        plot_comparison({})
