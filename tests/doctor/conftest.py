"""The databases of the storage tests and the models of the engine tests."""

from tests.engine.conftest import one_thread, small_model
from tests.storage.conftest import database_url

__all__ = ["database_url", "one_thread", "small_model"]
