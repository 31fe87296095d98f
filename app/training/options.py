"""What a training run can be asked for, with ranges: the door at which options are checked.

The HTTP process imports this to validate requests and to describe them in OpenAPI, so it must not import torch.
Left to others: what the options mean in layers and batches (`trainer`).
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)

from app.training.cost import network_cost

INPUTS = 28 * 28
CLASSES = 10
MAX_PARAMETERS = 10_000_000
MAX_WORKERS = 64
DEFAULT_PATIENCE = 2
DEFAULT_LEARNING_RATE = {"adam": 0.001, "sgd": 0.01}
MAX_SEED = 2**53 - 1  # the largest integer that every JSON reader keeps exact


def _no_bool(value: Any) -> Any:
    """Refuse true and false, which pydantic would take for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004
    return value


Int = Annotated[int, BeforeValidator(_no_bool)]
Float = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Units = Annotated[Int, Field(ge=1, le=4096)]


def _widths(value: Any) -> Any:
    """A form has no lists: there, widths are separated by commas."""
    return value.split(",") if isinstance(value, str) and "," in value else value


def _number_or_list(value: Any) -> str:
    """Which branch a value is for, so that an error is about that one alone. Tags are no part of a field's name."""
    return "(list)" if isinstance(value, (list, tuple)) else "(number)"


def _number_or_flag(value: Any) -> str:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return "(number)" if is_number or str(value).isdecimal() else "(flag)"


HiddenUnits = Annotated[
    Annotated[Units, Tag("(number)")] | Annotated[list[Units], Field(max_length=8), Tag("(list)")],
    Discriminator(_number_or_list),
    BeforeValidator(_widths),
]
Patience = Annotated[
    Annotated[bool, Tag("(flag)")] | Annotated[int, Field(ge=1, le=100), Tag("(number)")],
    Discriminator(_number_or_flag),
]


class TrainingOptions(BaseModel):
    """A training run: Flatten(28×28) → Dense(hidden_units, relu) → Dropout(dropout) → Dense(10)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Literal["auto", "mnist", "digits"] = Field(
        "auto",
        description="mnist: the handwritten digits. digits: a look-alike drawn by code, which needs no file and no "
        "network. auto: mnist where it can be had, else digits; the result says which and why.",
        examples=["auto"],
    )
    epochs: Int = Field(5, ge=1, le=100, description="How often to go through the training set.", examples=[5])
    batch_size: Int = Field(32, ge=1, le=4096, description="Examples per update of the weights.", examples=[32])
    hidden_units: HiddenUnits = Field(
        128,
        description="Width of the hidden layer, or a list of widths for several (at most 8, each 1 to 4096; together "
        f"at most {MAX_PARAMETERS:,} parameters). An empty list trains a linear classifier. In a form, widths are "
        "separated by commas.",
        examples=[128],
    )
    dropout: Float = Field(
        0.2,
        ge=0,
        le=0.9,
        description="Fraction of each hidden layer's outputs set to zero while training.",
        examples=[0.2],
    )
    optimizer: Literal["adam", "sgd"] = Field(
        "adam", description="How gradients change the weights.", examples=["adam"]
    )
    momentum: Float = Field(
        0.0, ge=0, lt=1, description="Momentum of sgd; adam has its own, so it takes none.", examples=[0.0]
    )
    learning_rate: Float | None = Field(
        None,
        gt=0,
        le=10,
        description="Size of the updates. Default: 0.001 for adam, 0.01 for sgd.",
        examples=[0.001],
    )
    loss: Literal["cross-entropy", "mse"] = Field(
        "cross-entropy",
        description="What to minimise: cross-entropy of the logits, or the mean squared error of the probabilities.",
        examples=["cross-entropy"],
    )
    validation_split: Float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Fraction of the training set, taken from its end, kept aside for validation.",
        examples=[0.1],
    )
    early_stopping: Patience = Field(
        False,
        description="Stop after this many epochs without a better validation loss (training loss if there is no "
        f"validation_split) and return to the best epoch's weights; true means {DEFAULT_PATIENCE}.",
        examples=[True],
    )
    augment: bool = Field(
        False, description="Turn, shear, scale and move each image a little, anew in each epoch.", examples=[False]
    )
    train_fraction: Float = Field(
        1.0, ge=0.001, le=1, description="Fraction of the training set to use, taken from its start.", examples=[1.0]
    )
    seed: Int | None = Field(
        None,
        ge=0,
        le=MAX_SEED,
        description="The same seed and options give the same result. Default: one is drawn, and reported.",
        examples=[7],
    )

    workers: Int = Field(
        1,
        ge=1,
        le=MAX_WORKERS,
        description="Processes that divide each batch between them (data-parallel training), at most one an example. "
        "Shuffles, dropout and augmentation are those of one worker, so the result is the same but for rounding. A "
        "service may allow fewer.",
        examples=[1],
    )

    @field_validator("workers")
    @classmethod
    def _have_work(cls, value: int, info: ValidationInfo) -> int:
        batch_size = info.data.get("batch_size", value)
        if value > batch_size:
            raise ValueError(f"{value} workers can't divide batches of {batch_size}; the most is one an example")
        return value

    @field_validator("momentum")
    @classmethod
    def _belongs_to_sgd(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("optimizer") == "adam":
            raise ValueError(f"a momentum of {value} belongs to optimizer 'sgd', not 'adam'")
        return value

    @field_validator("hidden_units")
    @classmethod
    def _is_not_too_much(cls, value: int | list[int]) -> int | list[int]:
        widths = [INPUTS, *([value] if isinstance(value, int) else value), CLASSES]
        parameters = network_cost(widths).parameters
        if parameters > MAX_PARAMETERS:
            raise ValueError(f"{value} make {parameters:,} parameters; the most is {MAX_PARAMETERS:,}")
        return value

    @property
    def hidden_layers(self) -> list[int]:
        """Widths of the hidden layers."""
        return [self.hidden_units] if isinstance(self.hidden_units, int) else self.hidden_units

    @property
    def widths(self) -> list[int]:
        """Widths of the whole stack, from the 784 pixels to the 10 classes."""
        return [INPUTS, *self.hidden_layers, CLASSES]

    @property
    def patience(self) -> int | None:
        """Epochs without improvement before stopping; None: never stop early."""
        if isinstance(self.early_stopping, bool):
            return DEFAULT_PATIENCE if self.early_stopping else None
        return self.early_stopping

    def resolved(self) -> TrainingOptions:
        """These options with seed and learning rate filled in: what a record of the run keeps."""
        seed = secrets.randbelow(2**31) if self.seed is None else self.seed
        rate = self.learning_rate or DEFAULT_LEARNING_RATE[self.optimizer]
        return self.model_copy(update={"seed": seed, "learning_rate": rate})
