"""How a model is sampled when a request says nothing: what its authors recommend, else Troika's own defaults."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """In the names of transformers' `generation_config.json`."""

    temperature: float = 0.9
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0

    @classmethod
    def from_folder(cls, folder: Path) -> SamplingDefaults:
        """Read `generation_config.json`, where there is one; a value that no sampler can use is left out."""
        try:
            raw = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as error:
            log.warning("%s/generation_config.json is left out: %s", folder, error)
            return cls()
        bounds = {
            "temperature": (0, 100),
            "top_p": (1e-6, 1),
            "top_k": (0, 1 << 20),
            "repetition_penalty": (0.01, 100),
        }
        found = {}
        for field in fields(cls):
            value = raw.get(field.name) if isinstance(raw, dict) else None
            low, high = bounds[field.name]
            if isinstance(value, int | float) and math.isfinite(value) and low <= value <= high:
                found[field.name] = int(value) if field.name == "top_k" else float(value)
        return replace(cls(), **found)  # type: ignore[arg-type]
