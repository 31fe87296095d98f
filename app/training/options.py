"""What a training run can be asked for, with ranges: the door at which options are checked.

The HTTP process imports this to validate requests and to describe them in OpenAPI, so it must not import torch.
Left to others: what the options mean in layers and batches (`trainer`).
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from app.training.cost import network_cost

INPUTS = 28 * 28
CLASSES = 10
MAX_PARAMETERS = 10_000_000
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


class TrainingOptions(BaseModel):
    """A training run: Flatten(28×28) → Dense(hidden_units, relu) → Dropout(dropout) → Dense(10)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Literal["auto", "mnist", "digits"] = Field(
        "auto",
        description="mnist: the handwritten digits. digits: a look-alike drawn by code, which needs no file and no "
        "network. auto: mnist where it can be had, else digits; the result says which and why.",
    )
    epochs: Int = Field(5, ge=1, le=100, description="How often to go through the training set.")
    batch_size: Int = Field(32, ge=1, le=4096, description="Examples per update of the weights.")
    hidden_units: Units | Annotated[list[Units], Field(max_length=8)] = Field(
        128,
        description="Width of the hidden layer, or a list of widths for several (at most 8, each 1 to 4096; together "
        f"at most {MAX_PARAMETERS:,} parameters). An empty list trains a linear classifier.",
    )
    dropout: Float = Field(
        0.2, ge=0, le=0.9, description="Fraction of each hidden layer's outputs set to zero while training."
    )
    optimizer: Literal["adam", "sgd"] = Field("adam", description="How gradients change the weights.")
    momentum: Float = Field(0.0, ge=0, lt=1, description="Momentum of sgd; adam has its own, so it takes none.")
    learning_rate: Float | None = Field(
        None, gt=0, le=10, description="Size of the updates. Default: 0.001 for adam, 0.01 for sgd."
    )
    loss: Literal["cross-entropy", "mse"] = Field(
        "cross-entropy",
        description="What to minimise: cross-entropy of the logits, or the mean squared error of the probabilities.",
    )
    validation_split: Float = Field(
        0.0, ge=0, le=0.5, description="Fraction of the training set, taken from its end, kept aside for validation."
    )
    early_stopping: bool | Annotated[int, Field(ge=1, le=100)] = Field(
        False,
        description="Stop after this many epochs without a better validation loss (training loss if there is no "
        f"validation_split) and return to the best epoch's weights; true means {DEFAULT_PATIENCE}.",
    )
    augment: bool = Field(False, description="Turn, shear, scale and move each image a little, anew in each epoch.")
    train_fraction: Float = Field(
        1.0, ge=0.001, le=1, description="Fraction of the training set to use, taken from its start."
    )
    seed: Int | None = Field(
        None,
        ge=0,
        le=MAX_SEED,
        description="The same seed and options give the same result. Default: one is drawn, and reported.",
    )

    @field_validator("early_stopping", mode="before")
    @classmethod
    def _zero_is_no_patience(cls, value: Any) -> Any:
        # In lax mode 0 and 1 would pass as false and true; as a patience 0 has no meaning and 1 has its own.
        if value == 0 and not isinstance(value, bool):
            raise ValueError("must be true, false, or a patience of 1 to 100 epochs")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> TrainingOptions:
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum {self.momentum} belongs to optimizer 'sgd', not {self.optimizer!r}")
        parameters = network_cost(self.widths).parameters
        if parameters > MAX_PARAMETERS:
            raise ValueError(
                f"hidden_units {self.hidden_units} make {parameters:,} parameters; the most is {MAX_PARAMETERS:,}"
            )
        return self

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
