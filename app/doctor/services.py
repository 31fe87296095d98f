"""What the service talks to: the database, the hub, the store of rate limits, the digits to learn from. No torch."""

from __future__ import annotations

from pathlib import Path

from app.doctor.finding import Finding, fail, ok, warn
from app.engine.model_source import hub_trouble
from app.storage.database import DatabaseError
from app.storage.inspection import inspect
from app.training.data import DatasetError, load_mnist
from config.settings import Settings


def database(url: str, timeout_s: float = 5.0) -> Finding:
    """Whether it can be reached and written to, and whether its tables are up to date. Changes nothing."""
    try:
        seen = inspect(url, timeout_s)
    except DatabaseError as error:
        return fail(
            "database",
            f"it cannot be used: {error}",
            "start it or correct TROIKA_DATABASE_URL; if it is locked, see which program holds it",
        )
    if seen.revision is None:
        return ok("database", f"{seen.address} has no tables yet", "the first start makes them")
    if not seen.known:
        return fail(
            "database",
            f"{seen.address} is at migration {seen.revision}, which this version does not have",
            "run the newer version that made it, or restore a backup from before",
        )
    if seen.revision != seen.head:
        return warn(
            "database",
            f"{seen.address} is at migration {seen.revision}, the newest is {seen.head}",
            "the next start brings it up to date; take a backup first",
        )
    return ok("database", f"{seen.address} is reachable, its tables are up to date ({seen.head})")


def hub(model: str, is_here: bool) -> Finding:
    """Whether the Hugging Face hub gives the model; that it does not matters only where the model is not here yet."""
    if model == "starter":
        return ok("hub", "not needed: the starter is in the box")
    trouble = hub_trouble(model)
    if trouble is None:
        return ok("hub", "reachable", "" if is_here else "the first start downloads the model from there")
    if is_here:
        return ok("hub", f"not reachable ({trouble.rstrip('.')}), and not needed: the model is here")
    if model == "auto":
        return warn(
            "hub",
            f"not reachable: {trouble.rstrip('.')}",
            "the bundled starter is served; for gpt2 connect to the network once, or give TROIKA_MODEL a folder",
        )
    return fail(
        "hub",
        f"not reachable: {trouble.rstrip('.')}",
        "give TROIKA_MODEL a folder or starter, or connect to the network once",
    )


def cluster(address: str) -> Finding:
    """Whether the replicas that are to compute can be reached."""
    try:
        from app.engine.cluster import deployment
    except ModuleNotFoundError as error:
        return fail("cluster", f"{error.name} is not installed", "pip install -r requirements-ray.txt")
    try:
        deployment.connect(address)
        found = deployment.status()
    except ConnectionError as error:
        return fail("cluster", str(error), "start a node of it on this machine: ray start --address=HEAD:PORT")
    finally:
        deployment.disconnect()
    if not found.running:
        return fail("cluster", found.sentence.rstrip("."), "python -m app.engine.cluster deploy")
    return ok("cluster", found.sentence.rstrip("."))


def digits(settings: Settings) -> Finding:
    """Whether MNIST is here; without it the training demo has digits drawn by code. Downloads nothing."""
    try:
        return ok("mnist", load_mnist(Path(settings.mnist_path) if settings.mnist_path else None, url=None).reason)
    except DatasetError as error:
        if settings.mnist_path:
            return warn("mnist", str(error), "correct TROIKA_MNIST_PATH; digits drawn by code are trained on meanwhile")
        where = str(error).partition(", and ")[0]
    if settings.training_download:
        return ok("mnist", where, "the first training downloads it, or takes digits drawn by code")
    return ok("mnist", f"{where}, and TROIKA_TRAINING_DOWNLOAD is off", "digits drawn by code are trained on")
