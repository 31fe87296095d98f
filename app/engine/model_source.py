"""Where the model comes from: `TROIKA_MODEL` resolved to a folder on this machine, before anything is loaded.

Checks everything about the folder that can be checked without torch, so that a wrong model stops the start with
a sentence. `checkpoint` reads the tensors.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import logging
import queue
import struct
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

STARTER_FOLDER = Path(__file__).parent.parent / "starter" / "checkpoint"
HUB_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
)
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
REACH_S = 4.0
"""Seconds after which a hub that does not answer counts as unreachable."""
STALL_S = 15.0
"""Seconds after which a download that brings nothing is given up."""


class ModelRefusedError(Exception):
    """The model asked for cannot be served; the message says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A resolved model: what it is called in replies, where it lies, and why this one was chosen."""

    name: str
    folder: Path
    reason: str


def resolve(model: str) -> ModelSource:
    """Resolve `auto`, `starter`, a hub name or a folder; raises `ModelRefusedError`.

    `auto` takes GPT-2 from the local Hugging Face cache, else from the hub, else the bundled starter.
    """
    if model == "auto":
        return _resolve_auto()
    if (here := resolve_here(model)) is not None:
        return here
    try:
        return _checked(ModelSource(model, _download(model), "downloaded from the Hugging Face hub"))
    except _HubError as error:
        raise ModelRefusedError(
            f"TROIKA_MODEL={model} is neither a folder nor in the local Hugging Face cache, and could not be "
            f"downloaded: {error} Give a folder, connect to the network, or use TROIKA_MODEL=starter."
        ) from error


def resolve_here(model: str) -> ModelSource | None:
    """As `resolve`, but nothing is downloaded: None if the model would have to be. Raises `ModelRefusedError`."""
    if model == "starter":
        return _checked(ModelSource("starter", STARTER_FOLDER, "asked for by TROIKA_MODEL"))
    folder = Path(model).expanduser()
    if model != "auto" and folder.is_dir():
        return _checked(ModelSource(folder.resolve().name, folder.resolve(), "folder given by TROIKA_MODEL"))
    if model.startswith((".", "/", "~")):
        raise ModelRefusedError(f"TROIKA_MODEL={model}: there is no such folder.")
    name = "gpt2" if model == "auto" else model
    if (cached := _from_cache(name)) is not None:
        return _checked(ModelSource(name, cached, "from the local Hugging Face cache"))
    return None


def hub_trouble(model: str) -> str | None:
    """Why the hub would not give `model` now, in a sentence; None if it would. Waits for `REACH_S` at most."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set."
    try:
        _list_files(constants.ENDPOINT, "gpt2" if model == "auto" else model)
    except _HubError as error:
        return str(error)
    return None


@functools.cache
def resolve_once(model: str) -> ModelSource:
    """As `resolve`, asked once a process: what gunicorn's master found before it forked, its workers find here."""
    return resolve(model)


def _resolve_auto() -> ModelSource:
    if (cached := _from_cache("gpt2")) is not None:
        try:
            return _checked(ModelSource("gpt2", cached, "gpt2 was in the local Hugging Face cache"))
        except ModelRefusedError as error:
            log.warning("the cached gpt2 cannot be used: %s", error)
    try:
        return _checked(ModelSource("gpt2", _download("gpt2"), "gpt2 was downloaded from the Hugging Face hub"))
    except (_HubError, ModelRefusedError) as error:
        why = f"gpt2 is not in the local Hugging Face cache and could not be downloaded: {error}"
        log.warning("%s Serving the bundled starter model.", why)
        return _checked(ModelSource("starter", STARTER_FOLDER, why))


# -- the hub -------------------------------------------------------------------------------------------------


class _HubError(Exception):
    """The hub gave no model; the message is a sentence that says why."""


def _from_cache(name: str) -> Path | None:
    """The newest complete snapshot of a hub model in the local cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        for weights in (*WEIGHT_FILES, *(f"{file}.index.json" for file in WEIGHT_FILES)):
            found = try_to_load_from_cache(name, weights)
            config = try_to_load_from_cache(name, "config.json")
            if isinstance(found, str) and isinstance(config, str):
                return Path(config).parent
    except HFValidationError as error:
        raise ModelRefusedError(
            f"TROIKA_MODEL={name} is neither a folder here nor a name that the Hugging Face hub allows."
        ) from error
    return None


def _download(name: str) -> Path:
    """Fetch the model into the local cache, with progress bars on stderr; raises `_HubError`."""
    from huggingface_hub import constants, snapshot_download

    if constants.HF_HUB_OFFLINE:
        raise _HubError("HF_HUB_OFFLINE is set.")
    files = _list_files(constants.ENDPOINT, name)
    weights = next((w for w in WEIGHT_FILES if any(_is_part_of(file, w) for file in files)), None)
    if weights is None or "config.json" not in files:
        raise _HubError(f"{name} has no config.json with {' or '.join(WEIGHT_FILES)} on the hub.")
    wanted = [file for file in files if file in HUB_FILES or _is_part_of(file, weights)]
    log.warning("downloading %s from %s: %s", name, constants.ENDPOINT, ", ".join(wanted))
    done: queue.SimpleQueue[Path | Exception] = queue.SimpleQueue()

    def fetch() -> None:
        try:
            done.put(Path(snapshot_download(name, allow_patterns=wanted, etag_timeout=REACH_S)))
        except Exception as error:  # the hub client lets through what its HTTP library of the day raises
            done.put(error)

    threading.Thread(target=fetch, name="hub-download", daemon=True).start()
    outcome = _while_it_grows(done, Path(constants.HF_HUB_CACHE))
    if isinstance(outcome, Exception):
        raise _HubError(f"the download broke off ({first_line(outcome)}).") from outcome
    return outcome


def _while_it_grows(done: queue.SimpleQueue[Path | Exception], folder: Path) -> Path | Exception:
    """Wait for a download into `folder`, for as long as something arrives there.

    A hub that stalls is given up: its client alone would go on asking for minutes.
    """
    size, grew_at = -1, time.monotonic()
    while True:
        try:
            return done.get(timeout=0.5)
        except queue.Empty:
            now_size = 0
            for path in folder.rglob("*.incomplete"):
                with contextlib.suppress(FileNotFoundError):  # just completed, and renamed
                    now_size += path.stat().st_size
        if now_size != size:
            size, grew_at = now_size, time.monotonic()
        elif time.monotonic() - grew_at > STALL_S:
            return TimeoutError(f"nothing came for {STALL_S:g} s")


def _list_files(endpoint: str, name: str) -> list[str]:
    """Ask the hub what files the model has.

    This is also the test whether the hub can be reached: one request, bounded as a whole, because the hub's own
    client tries again for far longer than a start may take.
    """
    url = f"{endpoint.rstrip('/')}/api/models/{urllib.parse.quote(name)}"
    answer: list[bytes] = []
    failure: list[str] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=REACH_S) as response:  # noqa: S310 - the endpoint is the operator's
                answer.append(response.read())
        except urllib.error.HTTPError as error:
            missing = error.code in (401, 404)
            failure.append(f"the hub has no public model {name}." if missing else f"the hub answered {error.code}.")
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            failure.append(f"{urllib.parse.urlsplit(endpoint).hostname} cannot be reached ({first_line(reason)}).")

    thread = threading.Thread(target=ask, name="hub-probe", daemon=True)
    thread.start()
    thread.join(REACH_S + 0.5)
    if failure:
        raise _HubError(failure[0])
    if not answer:
        raise _HubError(f"{urllib.parse.urlsplit(endpoint).hostname} did not answer within {REACH_S:g} s.")
    try:
        return [sibling["rfilename"] for sibling in json.loads(answer[0])["siblings"]]
    except (ValueError, KeyError, TypeError) as error:
        raise _HubError("the hub's answer is not that of a Hugging Face hub.") from error


def _is_part_of(file: str, weights: str) -> bool:
    """Whether `file` is the weight file, its index or one of its shards."""
    stem, suffix = weights.rsplit(".", 1)
    return file in (weights, f"{weights}.index.json") or (
        "/" not in file and file.startswith(f"{stem}-") and file.endswith(f".{suffix}")
    )


def first_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# -- checks that need no torch -------------------------------------------------------------------------------


def _checked(source: ModelSource) -> ModelSource:
    read_config(source.folder)
    for path in weight_files(source.folder):
        if path.suffix == ".safetensors":
            _check_safetensors(path)
    return source


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a GPT-2 model; raises `ModelRefusedError` for any other."""
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelRefusedError(f"{folder}: there is no config.json; give a folder saved by transformers.") from error
    except (OSError, ValueError) as error:
        raise ModelRefusedError(f"{path}: this cannot be read as JSON ({first_line(error)}).") from error
    if not isinstance(raw, dict) or raw.get("model_type") != "gpt2":
        kind = raw.get("model_type") if isinstance(raw, dict) else type(raw).__name__
        raise ModelRefusedError(
            f"{path}: model_type is {kind!r}, but only 'gpt2' can be served (gpt2, gpt2-medium, distilgpt2, "
            "microsoft/DialoGPT-small and others of that architecture)."
        )
    return raw


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the text side of the service must know of a model."""

    max_positions: int
    vocab_size: int


def model_shape(folder: Path) -> ModelShape:
    """Read from `config.json`; raises `ModelRefusedError`."""
    raw = read_config(folder)
    positions, vocabulary = raw.get("n_positions", raw.get("n_ctx", 1024)), raw.get("vocab_size", 50257)
    for value in (positions, vocabulary):
        if not isinstance(value, int) or value < 1:
            raise ModelRefusedError(
                f"{folder}/config.json: n_positions {positions!r} or vocab_size {vocabulary!r} is wrong."
            )
    return ModelShape(positions, vocabulary)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights, safetensors before pickles; raises `ModelRefusedError` if any is missing."""
    for name in WEIGHT_FILES:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            try:
                shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
                paths = [folder / Path(shard).name for shard in shards]
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise ModelRefusedError(f"{index}: this is not an index of weight files.") from error
            if absent := [path.name for path in paths if not path.is_file()]:
                raise ModelRefusedError(f"{folder}: the weight file {absent[0]} named in {index.name} is missing.")
            return paths
    raise ModelRefusedError(f"{folder}: there is neither {' nor '.join(WEIGHT_FILES)}; give a folder with weights.")


def _check_safetensors(path: Path) -> None:
    """Compare the file's size with what its header promises: catches truncation before anything is loaded."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (header_size,) = struct.unpack("<Q", file.read(8))
            if header_size > min(size, 100 << 20):
                raise ValueError("the header is longer than the file")
            header = json.loads(file.read(header_size))
        end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
        if 8 + header_size + end != size:
            raise ValueError(f"it has {size} bytes where its header promises {8 + header_size + end}")
    except (struct.error, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelRefusedError(
            f"{path}: the weights are damaged ({first_line(error)}). Download or save the file again."
        ) from error
