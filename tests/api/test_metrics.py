"""`/metrics` of a live service: what is counted, in the format that Prometheus reads, with labels that stay few."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests.server import LiveServer

Key = tuple[str, frozenset[tuple[str, str]]]

AS_IN_VLLM = {
    "num_requests_running": "gauge",
    "num_requests_waiting": "gauge",
    "kv_cache_usage_perc": "gauge",
    "prefix_cache_queries": "counter",
    "prefix_cache_hits": "counter",
    "prompt_tokens": "counter",
    "generation_tokens": "counter",
    "request_success": "counter",
    "iteration_tokens_total": "histogram",
    "time_to_first_token_seconds": "histogram",
    "inter_token_latency_seconds": "histogram",
    "request_time_per_output_token_seconds": "histogram",
    "e2e_request_latency_seconds": "histogram",
    "request_queue_time_seconds": "histogram",
    "request_prefill_time_seconds": "histogram",
    "request_decode_time_seconds": "histogram",
    "request_prompt_tokens": "histogram",
    "request_generation_tokens": "histogram",
}


class Samples:
    """The values at one time; 0 for what is not there yet."""

    def __init__(self, http: httpx.Client) -> None:
        response = http.get("/metrics")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        self.families = {family.name: family for family in text_string_to_metric_families(response.text)}
        self.values: dict[Key, float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self.values.get((f"troika_{name}", frozenset(labels.items())), 0.0)


class Change:
    def __init__(self, before: Samples) -> None:
        self._before = self._after = before

    def end(self, after: Samples) -> None:
        self._after = after

    def __call__(self, name: str, **labels: str) -> float:
        return self._after(name, **labels) - self._before(name, **labels)


@contextmanager
def change(http: httpx.Client) -> Iterator[Change]:
    """What a block of requests adds; nobody else speaks to the service meanwhile."""
    found = Change(Samples(http))
    yield found
    found.end(Samples(http))


def test_the_names_are_those_of_vllm_and_the_format_is_prometheus(http: httpx.Client) -> None:
    families = Samples(http).families
    for name, kind in AS_IN_VLLM.items():
        assert families[f"troika_{name}"].type == kind, name
    for name, family in families.items():
        assert name.startswith(("troika_", "process_", "python_")), name
        assert family.documentation, name
    assert families["process_resident_memory_bytes"].samples[0].value > 1e7
    assert families["troika_engine_process_resident_memory_bytes"].samples[0].value > 1e7

    live, ended = families["troika_training_jobs"].samples, families["troika_training_jobs_ended"].samples
    assert {sample.labels["status"] for sample in live} == {"queued", "running"}
    assert {sample.labels["status"] for sample in ended} == {"done", "failed", "cancelled", "interrupted"}

    openmetrics = http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert "troika_generation_tokens" in {family.name for family in parse_openmetrics(openmetrics.text)}


def test_a_reply_is_counted_in_tokens_steps_and_times(http: httpx.Client) -> None:
    with change(http) as added:
        usages = [
            http.post("/chat", json={"input": "Count me, please.", "max_new_tokens": 12, "seed": 4, "stream": stream})
            for stream in (False, True)
        ]
    usage = usages[0].json()["usage"]
    prompt, cached = usage["prompt_tokens"], usage["cached_tokens"]
    assert usage["completion_tokens"] == 12
    assert added("prompt_tokens_total") == 2 * prompt
    assert added("prefix_cache_queries_total") == 2 * prompt
    # The second prompt is the first one's, of which all but the last token can be reused.
    assert added("prefix_cache_hits_total") == cached + prompt - 1
    assert added("generation_tokens_total") == 24
    assert added("request_success_total", finished_reason="length") == 2
    assert added("iteration_tokens_total_sum") == (prompt - cached) + 11 + 1 + 11
    assert added("iteration_batch_size_sum") == added("iteration_batch_size_count") >= 24
    assert added("time_to_first_token_seconds_count") == 2
    assert added("inter_token_latency_seconds_count") == 22
    assert added("request_generation_tokens_sum") == 24
    assert added("request_prompt_tokens_sum") == 2 * prompt
    for name in ("queue_time", "prefill_time", "decode_time", "time_per_output_token"):
        assert added(f"request_{name}_seconds_count") == 2, name
    phases = sum(added(f"request_{name}_time_seconds_sum") for name in ("queue", "prefill", "decode"))
    assert abs(added("e2e_request_latency_seconds_sum") - phases) < 1e-6
    assert added("conversations_total") == added("conversation_turns_total") == 2
    assert added("http_requests_total", method="POST", route="/chat", status="200") == 2
    assert added("http_request_duration_seconds_count", method="POST", route="/chat") == 2


def test_a_reply_is_counted_by_how_it_ended(http: httpx.Client, live_server: LiveServer) -> None:
    with change(http) as added:
        whole = http.post("/chat", json={"input": "Stop!", "max_new_tokens": 40, "seed": 1}).json()["reply"]
        stopped = http.post("/chat", json={"input": "Stop!", "max_new_tokens": 40, "seed": 1, "stop": whole[5]}).json()
        assert stopped["finish_reason"] == "stop"
        request = {"input": "I leave.", "max_new_tokens": 3000, "stream": True}
        with http.stream("POST", "/chat", json=request) as stream:
            next(stream.iter_lines())
        live_server.wait_until(lambda: Samples(http)("http_requests_in_progress") == 1)
    reasons = {
        reason: added("request_success_total", finished_reason=reason) for reason in ("stop", "length", "cancelled")
    }
    assert reasons == {"stop": 1, "length": 1, "cancelled": 1}


def test_training_jobs_are_counted_by_their_status(http: httpx.Client, live_server: LiveServer) -> None:
    job = {"dataset": "digits", "train_fraction": 0.05, "epochs": 100, "hidden_units": 2000}  # never ends by itself
    with change(http) as added:
        links = http.post("/train-demo", json=job).json()["links"]
        live_server.wait_until(lambda: Samples(http)("training_jobs", status="running") == 1)
        http.delete(links["self"])
        live_server.wait_until(lambda: Samples(http)("training_jobs", status="running") == 0)
    assert added("training_jobs_ended_total", status="cancelled") == 1


def test_refusals_are_counted_by_their_code(http: httpx.Client) -> None:
    with change(http) as added:
        http.post("/chat", json={"input": "x", "temperature": 99})
        http.post("/chat", json={"input": "x", "conversation_id": "conv_none"})
        http.post("/v1/completions", json={"model": "other", "prompt": "x"})
    assert added("request_refusals_total", reason="invalid_value") == 1
    assert added("request_refusals_total", reason="conversation_not_found") == 1
    assert added("request_refusals_total", reason="model_not_found") == 1
    assert added("http_requests_total", method="POST", route="/chat", status="422") == 1


def test_no_request_can_make_new_labels(http: httpx.Client) -> None:
    """A path, an id or a method that somebody makes up must not become a series that is kept for ever."""

    def probe(number: int) -> None:
        http.get(f"/nowhere/{number}")
        http.get(f"/conversations/conv_{number:032x}")
        http.request(f"VERB{number}", "/chat")
        http.get(f"/health?{number}", headers={"X-Request-ID": f"id-{number}"})

    probe(0)
    known = set(Samples(http).values)
    for number in range(1, 30):
        probe(number)
    assert {key for key in Samples(http).values if key not in known} <= {
        ("troika_http_requests_total", frozenset({("method", "GET"), ("route", "/metrics"), ("status", "200")}))
    }
    with change(http) as added:
        probe(99)
    assert added("http_requests_total", method="GET", route="unmatched", status="404") == 1
    assert added("http_requests_total", method="GET", route="/conversations/<conversation_id>", status="404") == 1
    assert added("http_requests_total", method="other", route="unmatched", status="405") == 1
