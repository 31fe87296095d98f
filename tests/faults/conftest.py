"""The live service of the API's tests."""

from tests.api.conftest import chat_model, http, live_server

__all__ = ["chat_model", "http", "live_server"]
