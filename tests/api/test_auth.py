"""API keys: how they are given, that nothing but the open pages works without one, and that no line between two of
them can be crossed.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis.specs.openapi.checks import ignored_auth

from app.api.auth import ApiKeys, main
from config.settings import Settings, SettingsError
from tests.api.test_chat import assert_error, post
from tests.server import ROOT, LiveServer, serve

OTHER_KEY = "another key of alice's, for the time of an exchange"
LONG = "one and the same long beginning of two prompts, " * 8
"""Longer than what all prompts begin with, which every key has computed at some time."""


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def make_key(name: str) -> tuple[str, str]:
    """A new key and its line, as the command prints them."""
    made = subprocess.run(
        [sys.executable, "-m", "app.api.auth", name], cwd=ROOT, capture_output=True, text=True, check=True
    )
    _, key, _, line = made.stdout.splitlines()
    return key, line


@pytest.fixture(scope="module")
def keys() -> dict[str, tuple[str, str]]:
    return {name: make_key(name) for name in ("alice", "bob")}


@pytest.fixture(scope="module")
def server(
    keys: dict[str, tuple[str, str]], chat_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """Alice has two keys, one of them in the file; Bob's is in the environment."""
    folder = tmp_path_factory.mktemp("server")
    file = folder / "keys"
    file.write_text(f"# who may\n\n{keys['alice'][1]}\n", encoding="utf-8")
    given = f"{keys['bob'][1]}, alice:{sha256(OTHER_KEY).upper()}"
    with serve(folder, model=chat_model, api_keys=given, api_keys_file=file, log_level="debug") as server:
        yield server


@pytest.fixture
def nobody(server: LiveServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def alice(server: LiveServer, keys: dict[str, tuple[str, str]]) -> Iterator[httpx.Client]:
    with server.client(headers={"Authorization": f"Bearer {keys['alice'][0]}"}) as client:
        yield client


@pytest.fixture
def bob(server: LiveServer, keys: dict[str, tuple[str, str]]) -> Iterator[httpx.Client]:
    with server.client(headers={"Authorization": f"Bearer {keys['bob'][0]}"}) as client:
        yield client


# -- what is configured --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        "troika-a-key-pasted-as-it-is",
        "alice:troika-a-key-pasted-as-it-is",
        "alice:" + "a" * 63,
        "alice:" + "a" * 65,
        "alice:" + "g" * 64,
        ":" + "a" * 64,
        "al ice:" + "a" * 64,
        "a" * 65 + ":" + "a" * 64,
        "",
    ],
)
def test_a_wrong_entry_is_named_by_its_place_and_not_shown(entry: str, tmp_path: Path) -> None:
    good = f"carol:{sha256('x')}"
    with pytest.raises(SettingsError, match=r"^TROIKA_API_KEYS: entry 2 is not NAME:SHA256, with .*\.$") as caught:
        ApiKeys.from_settings(Settings(api_keys=f"{good},{entry}"))
    assert "pasted" not in str(caught.value)
    file = tmp_path / "keys"
    file.write_text(f"# keys\n{good}\n{entry or 'x'}\n", encoding="utf-8")
    place = re.escape(f"TROIKA_API_KEYS_FILE={file}: line 3 is not")
    with pytest.raises(SettingsError, match=place) as caught:
        ApiKeys.from_settings(Settings(api_keys_file=str(file)))
    assert "pasted" not in str(caught.value)


def test_one_key_under_two_names_is_refused() -> None:
    given = f"alice:{sha256('x')},bob:{sha256('x')}"
    with pytest.raises(SettingsError, match=r"entry 2 gives the key of alice to bob too"):
        ApiKeys.from_settings(Settings(api_keys=given))


@pytest.mark.parametrize("content", ["", "# nobody yet\n\n", b"\xff\xfe"])
def test_a_file_without_keys_does_not_open_the_service(tmp_path: Path, content: str | bytes) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    for path in (file, tmp_path / "missing", tmp_path):
        with pytest.raises(SettingsError, match=re.escape(f"TROIKA_API_KEYS_FILE={path} ")):
            ApiKeys.from_settings(Settings(api_keys_file=str(path)))


def test_wrong_keys_stop_the_start_with_that_sentence(tmp_path: Path) -> None:
    with serve(tmp_path, wait=False, model="starter", api_keys="alice:my-secret") as server:
        assert server.process.wait(timeout=60) != 0
    assert "troika: TROIKA_API_KEYS: entry 1 is not NAME:SHA256" in server.log
    assert "my-secret" not in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize("arguments", [[], ["a b"], ["alice", "bob"], ["--help"]])
def test_the_command_says_how_it_is_used(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: python -m app.api.auth NAME" in err


# -- who gets in ---------------------------------------------------------------------------------------------


def assert_refused(response: httpx.Response, challenge: str = "") -> None:
    assert_error(response, 401, None)
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
    assert response.headers["WWW-Authenticate"] == f'Bearer realm="troika"{challenge}'


def test_all_but_health_and_pages_needs_a_key_and_the_document_says_so(nobody: httpx.Client) -> None:
    document = nobody.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    opened = set()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            response = nobody.request(method, re.sub(r"\{\w+\}", "x", path.replace("{image_format}", "png")))
            if operation.get("security") == [{"ApiKey": []}]:
                assert_refused(response)
                assert "401" in operation["responses"]
            else:
                assert response.status_code == 200
                opened.add(path)
    assert opened == {"/health", "/health/live", "/health/ready"}
    assert nobody.get("/docs").status_code == 200
    assert nobody.get("/docs/swagger-ui.css").status_code == 200
    assert_error(nobody.get("/nothing"), 404, None)


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        ("Bearer", ""),
        ("Basic YWxpY2U6eA==", ""),
        ("Bearer wrong", ', error="invalid_token"'),
        ("bearer wrong", ', error="invalid_token"'),
        ("Bearer alice", ', error="invalid_token"'),
        (b"Bearer \xff\xfe\x80", ', error="invalid_token"'),
        ("Bearer " + "x" * 4000, ', error="invalid_token"'),
    ],
)
def test_what_is_no_key_is_refused(nobody: httpx.Client, header: str | bytes, challenge: str) -> None:
    assert_refused(nobody.get("/v1/models", headers=[(b"Authorization", header)]), challenge)


def test_neither_the_hash_nor_a_changed_key_opens(nobody: httpx.Client, keys: dict[str, tuple[str, str]]) -> None:
    key, line = keys["alice"]
    for wrong in (line, line.partition(":")[2], key[:-1], f"{key}x", key.upper(), f"{key} {key}"):
        assert_refused(
            nobody.get("/v1/models", headers={"Authorization": f"Bearer {wrong}"}), ', error="invalid_token"'
        )


def test_a_body_without_a_key_is_refused_before_it_is_looked_at(nobody: httpx.Client) -> None:
    assert_refused(nobody.post("/chat", content="{", headers={"Content-Type": "application/json"}))
    assert_refused(nobody.post("/chat", content="input=a&input=b"))


def test_keys_open_and_the_scheme_may_be_written_in_small_letters(
    alice: httpx.Client, bob: httpx.Client, nobody: httpx.Client
) -> None:
    assert post(alice, input="Hello").status_code == 200
    assert bob.get("/v1/models").status_code == 200
    assert nobody.get("/v1/models", headers={"Authorization": f"bearer  {OTHER_KEY}"}).status_code == 200


def test_the_official_client_works_with_a_key_and_says_so_without(
    server: LiveServer, keys: dict[str, tuple[str, str]]
) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=keys["bob"][0], max_retries=0) as client:
        model = client.models.list().data[0].id
        reply = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}], max_tokens=2)
        assert reply.usage is not None
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_no_key_is_in_the_log_or_in_a_reply(
    server: LiveServer, alice: httpx.Client, nobody: httpx.Client, keys: dict[str, tuple[str, str]]
) -> None:
    wrong = "a-wrong-key-that-nobody-must-read"
    replies = [
        post(alice, input="Hello"),
        post(alice, input="Hello", stream=True),
        post(alice, input=""),
        alice.get("/conversations/x"),
        nobody.get("/v1/models", headers={"Authorization": f"Bearer {wrong}"}),
        alice.get("/health"),
        alice.get("/openapi.json"),
    ]
    for secret in (wrong, *keys["alice"], keys["alice"][1].partition(":")[2], *keys["bob"], OTHER_KEY):
        assert secret not in server.log
        assert all(secret not in reply.text + str(reply.headers) for reply in replies)


@pytest.mark.slow
def test_the_document_is_kept_to_about_keys(server: LiveServer, keys: dict[str, tuple[str, str]]) -> None:
    """Schemathesis leaves the key out and sends a wrong one, and wants 401 for both."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    tried = []
    with requests.Session() as session:
        for found in schema.get_all_operations():
            operation = found.ok()
            if operation.definition.raw.get("security"):
                tried.append(operation.label)
                _check_auth(operation, session, keys["alice"][0])
    assert "POST /chat" in tried
    assert "POST /v1/chat/completions" in tried


def _check_auth(operation: schemathesis.APIOperation, session: requests.Session, key: str) -> None:
    @hypothesis_settings(
        max_examples=3,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def check(case: schemathesis.Case) -> None:
        # No seconds of computing for replies that are not the point.
        if isinstance(case.body, dict):
            case.body |= {"max_tokens" if operation.path.startswith("/v1") else "max_new_tokens": 1}
        response = case.call(session=session, headers={"Authorization": f"Bearer {key}"})
        case.validate_response(response, checks=[ignored_auth])

    check()


# -- lines between keys --------------------------------------------------------------------------------------


def test_a_conversation_is_its_keys_alone(alice: httpx.Client, bob: httpx.Client, nobody: httpx.Client) -> None:
    conversation_id = post(alice, input="My name is Alice.").json()["conversation_id"]
    path = f"/conversations/{conversation_id}"
    unknown = bob.get("/conversations/conv_" + "0" * 32).json()["error"]
    for response in (
        post(bob, input="What is my name?", conversation_id=conversation_id),
        post(bob, input="What is my name?", conversation_id=conversation_id, stream=True),
        bob.get(path),
        bob.get(f"{path}/export"),
        bob.delete(path),
    ):
        assert_error(response, 404, "conversation_id")
        # Nor is anybody told that it is there.
        assert response.json()["error"] | {"request_id": ""} == unknown | {"request_id": ""}
    for response in (nobody.get(path), nobody.delete(path)):
        assert_refused(response)
    found = alice.get(path).json()
    assert [turn["input"] for turn in found["turns"]] == ["My name is Alice."]
    assert found["busy"] is False


def test_a_conversation_is_that_of_all_keys_of_a_name(alice: httpx.Client, nobody: httpx.Client) -> None:
    conversation_id = post(alice, input="Hello").json()["conversation_id"]
    other = {"Authorization": f"Bearer {OTHER_KEY}"}
    assert nobody.get(f"/conversations/{conversation_id}", headers=other).status_code == 200


def test_no_key_gets_what_another_has_computed(alice: httpx.Client, bob: httpx.Client) -> None:
    def cached(client: httpx.Client) -> int:
        return int(post(client, input=f"chat: {LONG}", seed=1).json()["usage"]["cached_tokens"])

    assert max(cached(alice), cached(bob)) < len(LONG)
    assert min(cached(alice), cached(bob)) > len(LONG)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_nor_by_the_openai_api(alice: httpx.Client, bob: httpx.Client, path: str) -> None:
    text = f"{path}: {LONG}"
    model = alice.get("/v1/models").json()["data"][0]["id"]
    asked = {"messages": [{"role": "user", "content": text}]} if "chat" in path else {"prompt": text}
    body = asked | {"model": model, "max_tokens": 2, "seed": 1}

    def cached(client: httpx.Client) -> int:
        usage = client.post(path, json=body).json()["usage"]
        return int(usage["prompt_tokens_details"]["cached_tokens"])

    assert max(cached(alice), cached(bob)) < len(LONG)
    assert min(cached(alice), cached(bob)) > len(LONG)


def test_nor_while_the_other_is_being_computed(server: LiveServer, alice: httpx.Client, bob: httpx.Client) -> None:
    """A prefix can be copied from a sequence that still runs: its owner's alone."""
    text = f"running: {LONG}"
    running = {"input": text, "stream": True, "max_new_tokens": 3000, "temperature": 0}
    with alice.stream("POST", "/chat", json=running) as stream:
        assert any(line.startswith("data: ") for line in stream.iter_lines())
        assert post(bob, input=text, seed=1).json()["usage"]["cached_tokens"] < len(LONG)
        assert post(alice, input=text, seed=1).json()["usage"]["cached_tokens"] > len(LONG)
