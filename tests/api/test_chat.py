"""`POST /chat` over a socket: what it answers, and that every bad input gets a 4xx that names it."""

from __future__ import annotations

import json
import socket

import httpx
import pytest

from tests.server import LiveServer


def post(http: httpx.Client, **body: object) -> httpx.Response:
    return http.post("/chat", json={"max_new_tokens": 12, **body})


def events(response: httpx.Response) -> list[tuple[str, dict[str, object]]]:
    """The events of a stream, without comments."""
    found = []
    for block in response.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def assert_error(response: httpx.Response, status: int, param: str | None) -> str:
    """The one error shape; returns the message."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert error["param"] == param
    assert error["request_id"] == response.headers["X-Request-ID"]
    return str(error["message"])


# -- replies -------------------------------------------------------------------------------------------------


def test_form_and_json_get_the_same_reply(http: httpx.Client) -> None:
    form = http.post("/chat", data={"input": "Hello", "seed": "7", "max_new_tokens": "12"})
    assert form.status_code == 200, form.text
    assert form.json()["reply"] == post(http, input="Hello", seed=7).json()["reply"]


def test_a_form_message_is_text_even_if_it_looks_like_json(http: httpx.Client) -> None:
    for text in ("42", "true", '{"a": 1}', "null"):
        assert http.post("/chat", data={"input": text, "max_new_tokens": 2}).status_code == 200


def test_reply_has_every_part_of_the_contract(http: httpx.Client) -> None:
    body = post(http, input="Hello").json()
    assert {"reply", "model", "finish_reason", "seed", "usage", "context", "timing"} <= set(body)
    assert body["finish_reason"] == "length"
    usage = body["usage"]
    assert usage["completion_tokens"] == 12
    assert usage["total_tokens"] == usage["prompt_tokens"] + 12
    assert body["context"] == {"limit": 4096, "prompt_tokens": usage["prompt_tokens"], "turns_dropped": 0}


def test_reply_does_not_echo_the_prompt(http: httpx.Client) -> None:
    assert "a rather unlikely sentence" not in post(http, input="a rather unlikely sentence").json()["reply"]


def test_seed_replays_a_reply_and_another_seed_does_not(http: httpx.Client) -> None:
    first, again, other = (
        post(http, input="Hello", seed=seed, max_new_tokens=40).json()["reply"] for seed in (7, 7, 8)
    )
    assert first == again != other


def test_the_seed_that_was_drawn_replays_the_reply(http: httpx.Client) -> None:
    drawn = post(http, input="Hello", max_new_tokens=40).json()
    assert post(http, input="Hello", max_new_tokens=40, seed=drawn["seed"]).json()["reply"] == drawn["reply"]


def test_temperature_0_is_greedy_and_a_high_one_is_not(http: httpx.Client) -> None:
    greedy = {post(http, input="Hello", temperature=0, seed=seed).json()["reply"] for seed in range(3)}
    hot = {post(http, input="Hello", temperature=2, seed=seed).json()["reply"] for seed in range(3)}
    assert len(greedy) == 1
    assert len(hot) == 3


def test_stop_string_ends_the_reply_and_is_no_part_of_it(http: httpx.Client) -> None:
    whole = post(http, input="Hello", seed=3, max_new_tokens=40).json()["reply"]
    stop = whole[4:6]
    stopped = post(http, input="Hello", seed=3, max_new_tokens=40, stop=stop).json()
    assert stopped["reply"] == whole[: whole.index(stop)]
    assert stopped["finish_reason"] == "stop"


def test_logprobs_come_for_every_token(http: httpx.Client) -> None:
    body = post(http, input="Hello", logprobs=3, seed=1, temperature=0).json()
    assert len(body["tokens"]) == body["usage"]["completion_tokens"]
    for token in body["tokens"]:
        assert len(token["top"]) == 3
        assert token["logprob"] == token["top"][0]["logprob"] <= 0


def test_a_follow_up_reuses_the_prompt_it_begins_with(http: httpx.Client) -> None:
    text = "one and the same long beginning, " * 4
    post(http, input=text, seed=1)
    again = post(http, input=text, seed=1).json()["usage"]
    assert again["cached_tokens"] == again["prompt_tokens"] - 1


def test_a_reply_that_a_stop_string_ends_tells_what_was_reused_too(http: httpx.Client) -> None:
    text = "another long beginning for two requests, " * 4
    whole = post(http, input=text, seed=3, max_new_tokens=40).json()
    again = post(http, input=text, seed=3, max_new_tokens=40, stop=whole["reply"][4:6]).json()
    assert again["finish_reason"] == "stop"
    assert again["usage"]["cached_tokens"] == again["usage"]["prompt_tokens"] - 1


# -- streams -------------------------------------------------------------------------------------------------


def test_stream_is_tokens_then_one_done_with_the_whole_reply(http: httpx.Client) -> None:
    response = post(http, input="Hello", seed=5, stream=True, max_new_tokens=30)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["X-Accel-Buffering"] == "no"
    names = [name for name, _ in events(response)]
    assert names[-1] == "done"
    assert set(names[:-1]) == {"token"}
    done = events(response)[-1][1]
    plain = post(http, input="Hello", seed=5, max_new_tokens=30).json()
    assert "".join(str(data["text"]) for name, data in events(response) if name == "token") == done["reply"]
    assert done["reply"] == plain["reply"]


def test_a_client_that_leaves_frees_its_slot_streaming_or_not(live_server: LiveServer, http: httpx.Client) -> None:
    def counts() -> tuple[int, int]:
        engine = http.get("/health").json()["engine"]
        return engine["running"] + engine["waiting"], engine["slots_held"]

    host, port = live_server.url.removeprefix("http://").split(":")
    for stream in (True, False):
        # Greedy, so that the end of text does not come by chance.
        options = {"input": "Hello", "max_new_tokens": 3900, "temperature": 0}
        body = json.dumps(options | {"stream": stream}).encode()
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /chat HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json"
            connection.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            live_server.wait_until(lambda: counts()[0] > 0)
        live_server.wait_until(lambda: counts() == (0, 0))


# -- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": "  \n\t "}, "input"),
        ({"input": "x" * 2001}, "input"),
        ({"input": 42}, "input"),
        ({"input": None}, "input"),
        ({"input": ["Hello"]}, "input"),
        ({"input": "Hello", "temprature": 1}, "temprature"),
        ({"input": "Hello", "temperature": -0.1}, "temperature"),
        ({"input": "Hello", "temperature": 10.1}, "temperature"),
        ({"input": "Hello", "temperature": "hot"}, "temperature"),
        ({"input": "Hello", "top_p": 0}, "top_p"),
        ({"input": "Hello", "top_p": 1.5}, "top_p"),
        ({"input": "Hello", "top_k": -1}, "top_k"),
        ({"input": "Hello", "top_k": 2.5}, "top_k"),
        ({"input": "Hello", "min_p": 1.5}, "min_p"),
        ({"input": "Hello", "repetition_penalty": 0}, "repetition_penalty"),
        ({"input": "Hello", "max_new_tokens": 0}, "max_new_tokens"),
        ({"input": "Hello", "seed": 2**63}, "seed"),
        ({"input": "Hello", "logprobs": 21}, "logprobs"),
        ({"input": "Hello", "stop": [""]}, "stop.0"),
        ({"input": "Hello", "stop": ["a"] * 65}, "stop"),
        ({"input": "Hello", "stream": "perhaps"}, "stream"),
        ({"input": "Hello", "system": "x" * 2001}, "system"),
    ],
)
def test_a_wrong_field_is_422_and_named(http: httpx.Client, body: dict[str, object], param: str) -> None:
    assert param in assert_error(http.post("/chat", json=body), 422, param)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["temperature", "top_p", "min_p", "repetition_penalty"])
def test_a_number_that_is_not_finite_is_422(http: httpx.Client, field: str, number: str) -> None:
    content = f'{{"input": "Hello", "{field}": {number}}}'
    assert_error(http.post("/chat", content=content, headers={"Content-Type": "application/json"}), 422, field)


@pytest.mark.parametrize("content", ['{"input":', "", "hello", '{"input": "a" "b"}', b"\xff\xfe{}"])
def test_malformed_json_is_400(http: httpx.Client, content: str | bytes) -> None:
    response = http.post("/chat", content=content, headers={"Content-Type": "application/json"})
    assert "JSON" in assert_error(response, 400, None)


def test_half_a_surrogate_pair_is_refused(http: httpx.Client) -> None:
    response = http.post("/chat", content='{"input": "\\ud83d"}', headers={"Content-Type": "application/json"})
    assert_error(response, 422, "input")


@pytest.mark.parametrize("body", ["[1, 2]", '"Hello"', "7"])
def test_json_that_is_no_object_is_422(http: httpx.Client, body: str) -> None:
    assert_error(http.post("/chat", content=body, headers={"Content-Type": "application/json"}), 422, None)


def test_wrong_content_type_is_415(http: httpx.Client) -> None:
    response = http.post("/chat", content="Hello", headers={"Content-Type": "text/plain"})
    assert "text/plain" in assert_error(response, 415, None)


def test_a_form_that_says_one_thing_twice_is_422(http: httpx.Client) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    response = http.post("/chat", content="input=a&input=b", headers=form)
    assert_error(response, 422, "input")


def test_body_over_the_limit_is_413(http: httpx.Client) -> None:
    assert "64 KiB" in assert_error(http.post("/chat", json={"input": "x" * 70_000}), 413, None)


def test_get_chat_is_405_and_says_what_is_allowed(http: httpx.Client) -> None:
    response = http.get("/chat")
    assert_error(response, 405, None)
    assert "POST" in response.headers["Allow"]


def test_unknown_path_is_404_and_named(http: httpx.Client) -> None:
    assert "/nowhere" in assert_error(http.get("/nowhere"), 404, None)


def test_after_all_this_the_service_still_answers(http: httpx.Client) -> None:
    assert post(http, input="Hello").status_code == 200


# -- request ids ---------------------------------------------------------------------------------------------


def test_request_id_is_taken_if_it_is_harmless_and_made_otherwise(http: httpx.Client) -> None:
    assert http.get("/health/live", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    made = http.get("/health/live", headers={"X-Request-ID": "a b<c>"}).headers["X-Request-ID"]
    assert made.startswith("req-")
