"""What is measured: our engine and its peers, each in the precisions that are compared."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """One system in one precision.

    `worker` is its module in `benchmarks.peers.workers`; `environment` names its requirements, none is the project's
    own. `like` is our precision that it is compared with. `weight_bytes` and `cache_bytes` are what one weight and one
    value of the KV cache take in memory.
    """

    name: str
    precision: str
    worker: str
    like: str
    weight_bytes: float
    cache_bytes: int
    environment: str | None = None
    converted: bool = False
    over_http: bool = False

    @property
    def key(self) -> str:
        return f"{self.worker}-{self.precision}"

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


OURS, OURS_OVER_HTTP = "troika", "troika over HTTP"
GENERATE, CONTINUOUS = "transformers generate", "transformers continuous batching"
CTRANSLATE2, LLAMA_CPP, OPENVINO, ARTICLE = "CTranslate2", "llama.cpp", "OpenVINO GenAI", "article's app over HTTP"

SYSTEMS = (
    System(OURS, "float32", "troika", "float32", 4, 4),
    System(OURS, "bfloat16", "troika", "bfloat16", 2, 4),
    System(OURS, "int8", "troika", "int8", 1, 4),
    System(GENERATE, "float32", "generate", "float32", 4, 4),
    System(GENERATE, "bfloat16", "generate", "bfloat16", 2, 2),
    System(CONTINUOUS, "float32", "continuous", "float32", 4, 4),
    System(CTRANSLATE2, "float32", "ctranslate2", "float32", 4, 4, "ctranslate2", converted=True),
    System(CTRANSLATE2, "int8", "ctranslate2", "int8", 1, 4, "ctranslate2", converted=True),
    System(LLAMA_CPP, "F16", "llama_cpp", "bfloat16", 2, 2, "llama_cpp", converted=True),
    # A block of 32 weights has a scale of two bytes.
    System(LLAMA_CPP, "Q8_0", "llama_cpp", "int8", 34 / 32, 2, "llama_cpp", converted=True),
    System(OPENVINO, "bfloat16", "openvino", "bfloat16", 2, 1, "openvino", converted=True),
    System(OPENVINO, "int8", "openvino", "int8", 1, 1, "openvino", converted=True),
    System(OURS_OVER_HTTP, "float32", "http_troika", "float32", 4, 4, over_http=True),
    System(ARTICLE, "float32", "http_article", "float32", 4, 4, over_http=True),
)
WORKERS = tuple(dict.fromkeys(system.worker for system in SYSTEMS))


def chosen(only: Collection[str], skip: Collection[str]) -> list[System]:
    """The systems whose worker is among `only` (all where that is empty) and not among `skip`."""
    return [system for system in SYSTEMS if (not only or system.worker in only) and system.worker not in skip]
