"""The OpenAI-compatible endpoints, spoken to by the official client."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.api.test_chat import assert_error
from tests.server import LiveServer, serve

NO_END = {"256": -100}
"""A bias against the end of the text."""

HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def model(live_server: LiveServer) -> str:
    return str(httpx.get(f"{live_server.url}/health").json()["model"]["name"])


@pytest.fixture
def client(live_server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live_server.url}/v1", api_key="x", max_retries=0) as client:
        yield client


class Chat:
    """The client's calls with what these tests do not vary."""

    def __init__(self, client: openai.OpenAI, model: str) -> None:
        self.client, self.model = client, model

    def __call__(self, messages: Any = HELLO, **options: Any) -> Any:
        options = {"model": self.model, "max_tokens": 12, "seed": 7} | options
        return self.client.chat.completions.create(messages=messages, **options)

    def complete(self, prompt: Any = "Once upon", **options: Any) -> Any:
        options = {"model": self.model, "max_tokens": 12, "seed": 7} | options
        return self.client.completions.create(prompt=prompt, **options)


@pytest.fixture
def chat(client: openai.OpenAI, model: str) -> Chat:
    return Chat(client, model)


def texts(stream: Any) -> dict[int, str]:
    """The text of each choice of a stream, chat's or completions'."""
    found: dict[int, str] = {}
    for chunk in stream:
        for choice in chunk.choices:
            text = choice.delta.content if hasattr(choice, "delta") else choice.text
            found[choice.index] = found.get(choice.index, "") + (text or "")
    return found


# -- chat ----------------------------------------------------------------------------------------------------


def test_a_reply_is_as_the_client_expects_it(chat: Chat, model: str) -> None:
    reply = chat()
    assert reply.object == "chat.completion"
    assert reply.id.startswith("chatcmpl-")
    assert reply.model == model
    assert reply.system_fingerprint.startswith("fp_")
    (choice,) = reply.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "length"
    assert choice.logprobs is None
    assert reply.usage.completion_tokens == 12
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 12
    assert reply.seed == 7


def test_it_is_the_reply_that_chat_gives(chat: Chat, http: httpx.Client) -> None:
    same = http.post("/chat", json={"input": "Hello", "max_new_tokens": 40, "seed": 7}).json()["reply"]
    assert chat(max_tokens=40).choices[0].message.content == same


@pytest.mark.parametrize("seed", range(4))
def test_a_stream_is_the_same_text(chat: Chat, seed: int) -> None:
    whole = chat(seed=seed, max_tokens=60)
    assert texts(chat(seed=seed, max_tokens=60, stream=True)) == {0: whole.choices[0].message.content}


def test_a_stream_has_one_role_one_end_and_one_id(chat: Chat) -> None:
    chunks = list(chat(stream=True))
    assert [chunk.choices[0].delta.role for chunk in chunks].count("assistant") == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["length"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].context["turns_dropped"] == 0


def test_a_stream_ends_in_done_and_has_a_usage_only_if_asked(http: httpx.Client, model: str) -> None:
    body = {"model": model, "messages": HELLO, "max_tokens": 3, "stream": True}
    events = http.post("/v1/chat/completions", json=body).text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert all("usage" not in json.loads(event.removeprefix("data: ")) for event in events[:-1])


def test_the_usage_chunk_is_the_usage_of_the_whole(chat: Chat) -> None:
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    whole = chat().usage
    assert chunks[-1].usage.total_tokens == whole.total_tokens
    # The second request found the first one's prompt, all but the token that has to be computed anew.
    assert whole.prompt_tokens_details.cached_tokens == whole.prompt_tokens - 1


def test_async_client(live_server: LiveServer, model: str, chat: Chat) -> None:
    async def run() -> tuple[str, list[str]]:
        async with openai.AsyncOpenAI(base_url=f"{live_server.url}/v1", api_key="x", max_retries=0) as client:

            async def streamed(seed: int) -> str:
                stream = await client.chat.completions.create(
                    model=model, messages=HELLO, max_tokens=30, seed=seed, stream=True
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            whole = await client.chat.completions.create(model=model, messages=HELLO, max_tokens=30, seed=0)
            return str(whole.choices[0].message.content), await asyncio.gather(*map(streamed, range(8)))

    whole, streams = asyncio.run(run())
    assert streams[0] == whole
    assert streams == [chat(seed=seed, max_tokens=30).choices[0].message.content for seed in range(8)]


def test_n_gives_different_replies_streamed_or_not_and_the_first_is_that_of_1(chat: Chat) -> None:
    several = chat(n=5, max_tokens=30, temperature=1.5, logit_bias=NO_END)
    assert [choice.index for choice in several.choices] == list(range(5))
    contents = [choice.message.content for choice in several.choices]
    assert len(set(contents)) == 5
    assert contents[0] == chat(max_tokens=30, temperature=1.5, logit_bias=NO_END).choices[0].message.content
    assert several.usage.completion_tokens == 150
    assert several.usage.prompt_tokens == chat(max_tokens=1).usage.prompt_tokens
    assert texts(chat(n=5, max_tokens=30, temperature=1.5, logit_bias=NO_END, stream=True)) == dict(enumerate(contents))


def test_the_choices_of_a_stream_come_interleaved(chat: Chat) -> None:
    order = [chunk.choices[0].index for chunk in chat(n=3, max_tokens=100, stream=True)]
    first_end = min(len(order) - 1 - order[::-1].index(index) for index in range(3))
    assert {0, 1, 2} <= set(order[:first_end])


@pytest.mark.parametrize("as_list", [True, False])
def test_stop_strings_streamed_or_not(chat: Chat, as_list: bool) -> None:
    whole = chat(max_tokens=40).choices[0].message.content
    stop = whole[6:8]
    wanted = whole[: whole.index(stop)]
    given = ["never seen", stop, *(f"nor this {i}" for i in range(20))] if as_list else stop
    reply = chat(max_tokens=40, stop=given)
    assert reply.choices[0].message.content == wanted
    assert reply.choices[0].finish_reason == "stop"
    assert texts(chat(max_tokens=40, stop=given, stream=True)) == {0: wanted}


def test_logprobs_are_those_of_the_tokens_streamed_or_not(chat: Chat) -> None:
    content = chat(logprobs=True, top_logprobs=3, temperature=0).choices[0].logprobs.content
    assert len(content) == 12
    for token in content:
        assert len(token.top_logprobs) == 3
        assert token.logprob == token.top_logprobs[0].logprob <= 0
        assert bytes(token.bytes).decode(errors="replace") == token.token
    streamed = [
        token
        for chunk in chat(logprobs=True, top_logprobs=3, temperature=0, stream=True)
        if chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.content
    ]
    assert [token.model_dump() for token in streamed] == [token.model_dump() for token in content]


def test_logprobs_without_alternatives(chat: Chat) -> None:
    assert all(token.top_logprobs == [] for token in chat(logprobs=True).choices[0].logprobs.content)


def test_logit_bias_forces_and_forbids_tokens(chat: Chat) -> None:
    (a,) = chat.client.post("/tokenize", cast_to=httpx.Response, body={"prompt": "a"}).json()["tokens"]
    assert chat(logit_bias={str(a): 100}).choices[0].message.content == "a" * 12
    assert "a" not in chat(logit_bias={str(a): -100}, max_tokens=300, temperature=2).choices[0].message.content


def test_penalties_change_the_reply(chat: Chat) -> None:
    replies = {
        json.dumps(extra): chat(temperature=0, max_tokens=80, **extra).choices[0].message.content
        for extra in (
            {},
            {"frequency_penalty": 0.5},
            {"presence_penalty": 2},
            {"extra_body": {"repetition_penalty": 5}},
        )
    }
    assert len(set(replies.values())) == 4, replies


def test_our_own_fields_work_as_extra_body(chat: Chat) -> None:
    greedy = chat(temperature=0).choices[0].message.content
    assert chat(temperature=2, extra_body={"top_k": 1}).choices[0].message.content == greedy
    assert chat(temperature=2, extra_body={"min_p": 1}).choices[0].message.content == greedy


def test_max_completion_tokens_is_max_tokens(chat: Chat) -> None:
    assert chat(max_tokens=openai.omit, max_completion_tokens=5).usage.completion_tokens == 5


def test_parts_are_joined_and_developer_is_system(chat: Chat) -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    plain = chat([{"role": "system", "content": "Be kind."}, *HELLO])
    assert (
        chat([{"role": "developer", "content": "Be kind."}, {"role": "user", "content": parts}]).choices[0].message
        == plain.choices[0].message
    )


def test_a_reply_goes_back_in_as_it_came(chat: Chat) -> None:
    message = chat().choices[0].message
    assert chat([*HELLO, message, {"role": "user", "content": "And?"}]).choices[0].message.content
    assert chat([*HELLO, message.model_dump(), {"role": "user", "content": "And?"}]).choices[0].message.content


def test_bookkeeping_and_neutral_values_are_taken(chat: Chat) -> None:
    chat(
        user="lin",
        metadata={"session": "1"},
        store=False,
        service_tier="auto",
        safety_identifier="x",
        prompt_cache_key="y",
        parallel_tool_calls=False,
        tools=[],
        tool_choice="none",
        response_format={"type": "text"},
        modalities=["text"],
        reasoning_effort="none",
        logit_bias={},
        n=1,
        top_p=1,
        stop=None,
    )


def test_too_long_a_conversation_loses_its_oldest_turns_or_is_refused(chat: Chat) -> None:
    turns = [{"role": role, "content": "x" * 1900} for _ in range(3) for role in ("user", "assistant")]
    assert chat([*turns, *HELLO]).context["turns_dropped"] == 2
    with pytest.raises(openai.BadRequestError) as caught:
        chat([*turns, *HELLO], extra_body={"truncation": "error"})
    assert (caught.value.param, caught.value.code) == ("messages", "context_length_exceeded")


# -- text completions ----------------------------------------------------------------------------------------


def test_a_completion_continues_the_text(chat: Chat) -> None:
    reply = chat.complete(max_tokens=openai.omit)
    assert reply.object == "text_completion"
    assert reply.usage.completion_tokens == 16
    assert reply.usage.prompt_tokens == len("Once upon")
    assert reply.choices[0].finish_reason == "length"


@pytest.mark.parametrize("echo", [False, True])
def test_a_completion_stream_is_the_same_text(chat: Chat, echo: bool) -> None:
    whole = chat.complete(max_tokens=60, echo=echo).choices[0].text
    assert whole.startswith("Once upon") == echo
    assert texts(chat.complete(max_tokens=60, echo=echo, stream=True)) == {0: whole}


def test_a_prompt_may_have_any_of_four_forms(chat: Chat) -> None:
    one, other = (chat.complete(prompt).choices[0].text for prompt in ("Once upon", "a time"))
    assert one != other
    ids = list(b"Once upon"), list(b"a time")
    tokens = [
        chat.client.post("/tokenize", cast_to=httpx.Response, body={"prompt": bytes(i).decode()}).json() for i in ids
    ]
    assert chat.complete(tokens[0]["tokens"]).choices[0].text == one
    for prompts in (["Once upon", "a time"], [tokens[0]["tokens"], tokens[1]["tokens"]]):
        assert [choice.text for choice in chat.complete(prompts).choices] == [one, other]
        assert texts(chat.complete(prompts, stream=True)) == {0: one, 1: other}


def test_several_prompts_and_several_replies_are_in_order(chat: Chat) -> None:
    prompts = ["Once upon", "a time"]
    several = chat.complete(prompts, n=3, temperature=1.5)
    assert [choice.index for choice in several.choices] == list(range(6))
    alone = [choice.text for prompt in prompts for choice in chat.complete(prompt, n=3, temperature=1.5).choices]
    assert [choice.text for choice in several.choices] == alone
    assert several.usage.prompt_tokens == len("".join(prompts))


@pytest.mark.parametrize("prompt", ["", None])
def test_an_empty_prompt_begins_a_text(chat: Chat, prompt: str | None) -> None:
    assert chat.complete(prompt).usage.prompt_tokens == 1


def test_text_offsets_are_the_places_of_the_tokens(chat: Chat) -> None:
    choice = chat.complete(logprobs=2, max_tokens=80, temperature=1.5, logit_bias=NO_END).choices[0]
    logprobs = choice.logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) == 80
    for token, offset, logprob, top in zip(
        logprobs.tokens, logprobs.text_offset, logprobs.token_logprobs, logprobs.top_logprobs, strict=True
    ):
        assert top[token] == logprob
        assert 2 <= len(top) <= 3
        if not token.startswith("bytes:"):
            assert choice.text[offset:].startswith(token)


def test_completion_logprobs_are_the_same_in_a_stream(chat: Chat) -> None:
    options: dict[str, Any] = {"logprobs": 1, "max_tokens": 40, "temperature": 1.5}
    whole = chat.complete(**options).choices[0].logprobs
    chunks = [c.choices[0].logprobs for c in chat.complete(**options, stream=True) if c.choices[0].logprobs]
    for field in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert [value for chunk in chunks for value in getattr(chunk, field)] == getattr(whole, field)


# -- models and tokens ---------------------------------------------------------------------------------------


def test_models(client: openai.OpenAI, model: str) -> None:
    (listed,) = client.models.list().data
    assert listed.id == model
    assert client.models.retrieve(model) == listed


@pytest.mark.parametrize("text", ["Hello", "你好 👋", "", "\t\r\n", "<|endoftext|>"])
def test_tokens_go_there_and_back(http: httpx.Client, text: str) -> None:
    tokens = http.post("/v1/tokenize", json={"prompt": text}).json()
    assert tokens["count"] == len(tokens["tokens"]) == len(tokens["token_strs"]) == len(text.encode())
    assert http.post("/v1/detokenize", json={"tokens": tokens["tokens"]}).json() == {"prompt": text}


def test_the_tokens_of_a_conversation_are_those_of_its_prompt(http: httpx.Client, chat: Chat) -> None:
    count = http.post("/v1/tokenize", json={"messages": HELLO}).json()["count"]
    assert count == chat(max_tokens=1).usage.prompt_tokens


# -- what is refused -----------------------------------------------------------------------------------------

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"verbosity": "low"}, "verbosity"),
        ({"store": True}, "store"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages.0.role"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "x", "name": "lin"}]}, "messages.0.name"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, "messages.0.content.0.type"),
        ({"messages": [*HELLO, {"role": "user", "content": "x" * 2001}]}, "messages.1.content"),
        ({"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]}, "messages.0.tool_calls"),
        ({"n": 0}, "n"),
        ({"n": 65}, "n"),
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"frequency_penalty": 2.1}, "frequency_penalty"),
        ({"presence_penalty": -2.1}, "presence_penalty"),
        ({"stop": ["a", ""]}, "stop.1"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"extra_body": {"no_such_field": 1}}, "no_such_field"),
        ({"extra_body": {"seed": "7"}}, "seed"),
    ],
)
def test_what_cannot_be_done_is_a_bad_request_that_names_the_field(chat: Chat, options: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        chat(**options)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert param in caught.value.message
    assert caught.value.request_id


@pytest.mark.parametrize(
    ("prompt", "options", "param"),
    [
        ("x", {"suffix": "y"}, "suffix"),
        ("x", {"best_of": 2}, "best_of"),
        ("x", {"echo": True, "logprobs": 1}, "logprobs"),
        ("x", {"max_tokens": 5000}, "max_tokens"),
        ("x" * 2001, {}, "prompt"),
        ([1] * 5000, {}, "prompt"),
        ([], {}, "prompt"),
        ([[]], {}, "prompt.0"),
        ([257], {}, "prompt"),
        ([-1], {}, "prompt.0"),
        (["x", 1], {}, "prompt.1"),
        (["x"] * 65, {}, "prompt"),
        ("x", {"logit_bias": {"257": 1}}, "logit_bias"),
    ],
)
def test_what_cannot_be_completed_is_a_bad_request(chat: Chat, prompt: Any, options: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        chat.complete(prompt, **options)
    assert caught.value.param == param


def test_an_unknown_model_is_not_found(chat: Chat, client: openai.OpenAI) -> None:
    for ask in (
        lambda: chat(model="gpt-4o"),
        lambda: chat.complete(model="gpt-4o"),
        lambda: client.models.retrieve("gpt-4o"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            ask()
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("tokenize", {}, "prompt"),
        ("tokenize", {"prompt": "x", "messages": HELLO}, "prompt"),
        ("tokenize", {"prompt": "x" * 2001}, "prompt"),
        ("tokenize", {"prompt": "a\0b"}, "prompt"),
        ("detokenize", {"tokens": [257]}, "tokens"),
        ("detokenize", {"tokens": "x"}, "tokens"),
    ],
)
def test_bad_tokens_are_a_bad_request(http: httpx.Client, path: str, body: dict[str, object], param: str) -> None:
    assert_error(http.post(f"/v1/{path}", json=body), 400, param)


@pytest.mark.parametrize("content", ['{"model":', "", "[" * 60_000, '{"seed": ' + "9" * 5000 + "}"])
def test_malformed_json_is_400(http: httpx.Client, content: str) -> None:
    headers = {"Content-Type": "application/json"}
    assert_error(http.post("/v1/chat/completions", content=content, headers=headers), 400, None)


def test_a_form_is_no_openai_request(http: httpx.Client) -> None:
    assert_error(http.post("/v1/chat/completions", data={"model": "x"}), 415, None)


def test_before_a_stream_begins_an_error_has_its_status(chat: Chat) -> None:
    with pytest.raises(openai.BadRequestError):
        chat(stream=True, n=65)


@pytest.mark.slow
def test_an_error_in_mid_stream_is_raised_by_the_client(chat_model: Path, tmp_path: Path) -> None:
    with (
        serve(tmp_path, model=chat_model, request_timeout_s=1, database_url=f"sqlite:///{tmp_path}/db") as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client,
    ):
        chat = Chat(client, client.models.list().data[0].id)
        endless: dict[str, Any] = {"max_tokens": 4000, "n": 8, "logit_bias": NO_END}
        with pytest.raises(openai.APIError) as caught:
            texts(chat(stream=True, **endless))
        assert caught.value.code == "timeout"
        with pytest.raises(openai.InternalServerError) as refused:
            chat(**endless)
        assert (refused.value.status_code, refused.value.code) == (503, "timeout")


def test_a_client_that_leaves_frees_all_its_slots(live_server: LiveServer, http: httpx.Client, model: str) -> None:
    def busy() -> tuple[int, int]:
        engine = http.get("/health").json()["engine"]
        return engine["running"] + engine["waiting"], engine["slots_held"]

    host, port = live_server.url.removeprefix("http://").split(":")
    for stream in (True, False):
        body = json.dumps(
            {
                "model": model,
                "prompt": ["a", "b"],
                "n": 2,
                "max_tokens": 3900,
                "logit_bias": NO_END,
                "stream": stream,
            }
        )
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: "
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"{head}{len(body)}\r\n\r\n{body}".encode())
            live_server.wait_until(lambda: busy()[0] == 4)
        live_server.wait_until(lambda: busy() == (0, 0))
