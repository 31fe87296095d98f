"""What goes over the wire at `/train-demo`: a job, its result, a drawing and what is read in it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from flask import url_for
from pydantic import BaseModel, BeforeValidator, Field

from app.api.schemas import Body
from app.jobs.records import JobRecord, Status
from app.training.images import SIDE

EXAMPLE_ID = "train_8d2f6c1e0b7a4953a1f0e2d4c6b8a793"
EXAMPLE_PNG = "iVBORw0KGgoAAAANSUhEUgAAABwAAAAc…"


# -- a job ---------------------------------------------------------------------------------------------------


class Digits(BaseModel):
    name: Literal["mnist", "digits"] = Field(description="Which set.", examples=["mnist"])
    reason: str = Field(description="Why this one, and where it came from.", examples=["read from /data/mnist.npz"])
    train: int = Field(description="Images to learn from.", examples=[60000])
    validation: int = Field(description="Images kept aside for validation.", examples=[0])
    test: int = Field(description="Images for the test.", examples=[10000])


class Epoch(BaseModel):
    epoch: int = Field(description="1 for the first.", examples=[1])
    loss: float | None = Field(description="Mean training loss; null if it grew without bound.", examples=[0.29])
    accuracy: float = Field(description="Fraction of training images read rightly.", examples=[0.914])
    seconds: float = Field(description="What the epoch took.", examples=[0.8])
    val_loss: float | None = Field(None, description="Validation loss, with `validation_split`.", examples=[0.12])
    val_accuracy: float | None = Field(None, description="Validation accuracy, likewise.", examples=[0.965])


class Step(BaseModel):
    """Where a run stands, or stood last. Epochs and batches count from 1."""

    epoch: int = Field(description="The epoch it is in.", examples=[2])
    epochs: int = Field(description="Of how many.", examples=[5])
    batch: int = Field(description="The batch of the epoch that was finished last.", examples=[941])
    batches: int = Field(description="Of how many.", examples=[1875])
    elapsed_s: float = Field(description="Seconds of training so far.", examples=[1.2])
    loss: float | None = Field(description="Training loss of the epoch so far.", examples=[0.16])
    accuracy: float = Field(description="Training accuracy of the epoch so far.", examples=[0.953])


class Mistake(BaseModel):
    index: int = Field(description="Which test image.", examples=[1530])
    label: int = Field(description="What it is.", examples=[8])
    predicted: int = Field(description="What it was read as.", examples=[7])
    confidence: float = Field(description="With which probability.", examples=[0.998])
    image: str = Field(description="The image, a PNG of 28×28 in base64.", examples=[EXAMPLE_PNG])


class Layer(BaseModel):
    name: str = Field(description="Of the layer.", examples=["dense"])
    type: str = Field(description="Flatten, Dense or Dropout.", examples=["Dense"])
    output_shape: list[int] = Field(description="For each example.", examples=[[128]])
    parameters: int = Field(description="Weights and biases.", examples=[100480])


class LayerCost(BaseModel):
    inputs: int = Field(description="Of a dense layer.", examples=[784])
    outputs: int = Field(description="Likewise.", examples=[128])
    parameters: int = Field(description="Weights and biases.", examples=[100480])
    multiply_adds_forward: int = Field(description="For each example: one for each weight.", examples=[100352])
    forward_flops: int = Field(description="Twice that.", examples=[200704])
    backward_flops: int = Field(description="Gradients by weights, biases and inputs.", examples=[200832])


class SpeedOfMachine(BaseModel):
    """step time = overhead + FLOPs / flops_per_s + parameters × seconds_per_parameter"""

    overhead_s: float = Field(description="Of each step: calls, dropout, gathering the batch.", examples=[5e-05])
    flops_per_s: float = Field(description="Floating-point operations a second.", examples=[1.4e11])
    seconds_per_parameter: float = Field(description="For the optimiser, in each step.", examples=[1.1e-09])


class Cost(BaseModel):
    """What the network costs: exact counts, and time as predicted before the run and as measured in it."""

    parameters: int = Field(description="N: weights and biases.", examples=[101770])
    multiply_adds_forward: int = Field(description="For each example.", examples=[101632])
    forward_flops: int = Field(description="For each example.", examples=[203264])
    backward_flops: int = Field(description="For each example.", examples=[205962])
    layers: list[LayerCost] = Field(description="The same of each dense layer.")
    calibration: SpeedOfMachine = Field(description="How fast this machine is, measured just before the run.")
    steps_per_epoch: int = Field(description="Updates of the weights in an epoch.", examples=[1875])
    predicted_step_s: float = Field(description="Seconds for each step, predicted.", examples=[0.00025])
    measured_step_s: float | None = Field(
        description="Seconds for each step, measured; null if no epoch was finished.", examples=[0.00026]
    )
    predicted_total_s: float = Field(description="Seconds for all epochs that were asked for.", examples=[2.4])
    measured_total_s: float = Field(description="Seconds that the finished epochs took.", examples=[2.5])


class Result(BaseModel):
    """What came of the run. In a list of jobs only the scores are there, the rest is null."""

    test_loss: float | None = Field(description="Loss on the test set; null if it is no number.", examples=[0.075])
    test_accuracy: float = Field(description="Fraction of test images read rightly.", examples=[0.9774])
    stopped: str | None = Field(
        description="Why it ended before its last epoch, if it did.", examples=["time limit of 600 s reached"]
    )
    history: list[Epoch] | None = Field(None, description="The whole epochs.")
    confusion_matrix: list[list[int]] | None = Field(
        None,
        description="Counts: row for what it is, column for what it was read as.",
        examples=[[[971, 0], [1, 1125]]],
    )
    mistakes: list[Mistake] | None = Field(None, description="The wrong readings it was surest of.")
    summary: list[Layer] | None = Field(None, description="The layers.")
    cost: Cost | None = Field(None, description="What the network costs.")


class JobErrorOut(BaseModel):
    code: str = Field(
        description="dataset, training, storage, time_limit, crashed, process, internal or interrupted.",
        examples=["dataset"],
    )
    message: str = Field(
        description="What was wrong.", examples=["/data/mnist.npz can't be read as mnist.npz: it is cut short"]
    )


class Links(BaseModel):
    self: str = Field(description="The job.", examples=[f"/train-demo/{EXAMPLE_ID}"])
    events: str = Field(description="What happens in it.", examples=[f"/train-demo/{EXAMPLE_ID}/events"])
    predict: str = Field(description="Its classifier.", examples=[f"/train-demo/{EXAMPLE_ID}/predict"])
    plot_png: str = Field(description="Its curves.", examples=[f"/train-demo/{EXAMPLE_ID}/plot.png"])
    plot_svg: str = Field(description="Likewise.", examples=[f"/train-demo/{EXAMPLE_ID}/plot.svg"])


class Job(BaseModel):
    """A training run."""

    id: str = Field(description="Names the job.", examples=[EXAMPLE_ID])
    status: Status = Field(
        description="interrupted: the service stopped before the run's end.",
        examples=["running"],
    )
    options: dict[str, Any] = Field(
        description="What was asked for, with seed and learning rate filled in.",
        examples=[{"dataset": "auto", "epochs": 5, "seed": 7}],
    )
    dataset: Digits | None = Field(description="What it learns from; null until it is loaded.")
    history: list[Epoch] = Field(description="The whole epochs so far.")
    progress: float = Field(description="0 to 1.", examples=[0.3])
    step: Step | None = Field(description="Where it stands, or stood last; null before the first batch.")
    eta_s: float | None = Field(description="Seconds of training left; null if that isn't known.", examples=[2.1])
    result: Result | None = Field(description="What came of it, when it is done.")
    error: JobErrorOut | None = Field(description="Why nothing came of it, when it failed or was interrupted.")
    links: Links = Field(description="Where to go from here.")
    created_at: datetime = Field(description="When it was asked for, in UTC.", examples=["2026-11-23T14:40:00Z"])
    started_at: datetime | None = Field(description="When it began.", examples=["2026-11-23T14:40:01Z"])
    finished_at: datetime | None = Field(description="When it ended.", examples=["2026-11-23T14:40:09Z"])


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[Job] = Field(description="With the scores of their results alone.")
    next: str | None = Field(
        description="Where older ones are; null if there are none.", examples=[f"/train-demo?before={EXAMPLE_ID}"]
    )


def job_out(record: JobRecord) -> Job:
    """The job as a client sees it."""
    step = record.step or {}
    return Job(
        id=record.id,
        status=record.status,
        options=record.options,
        dataset=record.started and record.started["dataset"],
        history=record.history,
        progress=1.0 if record.status == "done" else step.get("progress", 0.0),
        step=record.step,
        eta_s=step.get("eta_s") if record.status == "running" else None,
        result=record.result,
        error=record.error and JobErrorOut(code=record.error.code, message=record.error.message),
        links=Links(
            self=url_for("training.read", job_id=record.id),
            events=url_for("training.events", job_id=record.id),
            predict=url_for("training.predict", job_id=record.id),
            plot_png=url_for("training.plot", job_id=record.id, image_format="png"),
            plot_svg=url_for("training.plot", job_id=record.id, image_format="svg"),
        ),
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
    )


# -- requests ------------------------------------------------------------------------------------------------


class StartQuery(Body):
    wait: bool = Field(False, description="Answer when the run has ended.", examples=[True])


class ListQuery(Body):
    limit: int = Field(20, ge=1, le=100, description="At most so many jobs.", examples=[20])
    before: str | None = Field(None, description="Only jobs older than this one.", examples=[EXAMPLE_ID])


class ComparisonQuery(Body):
    ids: str = Field(
        min_length=1,
        description="The jobs to compare, separated by commas; at most 8.",
        examples=[f"{EXAMPLE_ID},train_0b7a4953a1f0e2d4c6b8a7938d2f6c1e"],
    )


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004
    return value


Grey = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, le=255)]
Row = Annotated[list[Grey], Field(min_length=SIDE, max_length=SIDE)]


class Drawing(Body):
    """A digit, white on black or black on white."""

    image: Annotated[list[Row], Field(min_length=SIDE, max_length=SIDE)] = Field(
        description="28 rows of 28 grey levels, 0 to 255.", examples=[[[0.0] * SIDE] * SIDE]
    )


UPLOAD = {
    "type": "object",
    "required": ["image"],
    "additionalProperties": False,
    "properties": {
        "image": {
            "type": "string",
            "format": "binary",
            "description": "A picture of a digit (PNG, JPEG or WebP) of any size: it is cropped, scaled and centred "
            "as MNIST's digits were.",
        }
    },
}

PREDICT_BODY = {
    "content": {
        "application/json": {"schema": Drawing.model_json_schema()},
        "multipart/form-data": {"schema": UPLOAD},
    }
}


class Reading(BaseModel):
    """What is read in a drawing."""

    digit: int = Field(description="The likeliest digit.", examples=[7])
    probabilities: list[float] = Field(
        description="Of the digits 0 to 9.", examples=[[0.0, 0.0, 0.01, 0.0, 0.0, 0.0, 0.0, 0.98, 0.0, 0.01]]
    )
