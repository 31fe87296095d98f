"""A live service on a small random model, shared by the tests that do not need sense in its replies."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.models import save_chat_model
from tests.server import LiveServer, serve


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chat_model(tmp_path_factory.mktemp("chat-model"))


@pytest.fixture(scope="session")
def live_server(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("server")
    with serve(folder, model=chat_model, max_input_chars=2000, max_body_kb=64) as server:
        yield server


@pytest.fixture
def http(live_server: LiveServer) -> Iterator[httpx.Client]:
    with live_server.client() as client:
        yield client
