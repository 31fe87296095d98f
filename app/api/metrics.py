"""`/metrics`, for Prometheus: vLLM's names under the prefix `troika_`, and what this service has besides.

vLLM writes `vllm:`, but Prometheus keeps colons for recording rules. Labels have few values: a route's template,
never a path, and no names of clients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast, get_args

from apiflask import APIBlueprint, APIFlask
from flask import Response, current_app, request
from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import app
from app.api.lifecycle import Lifecycle
from app.chat.service import ChatService
from app.engine.client import STATES, EngineStatus
from app.engine.messages import StepStats
from app.engine.observer import RequestSummary
from app.jobs.records import LIVE, Status
from app.jobs.runner import TrainingJobs

blueprint = APIBlueprint("metrics", __name__, tag="Health")

FINISHED_REASONS = ("stop", "length", "cancelled", "timeout", "error")

STEP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 10)
"""From the fastest step on a GPU to a long prompt's on a slow CPU."""
WAIT_SECONDS = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 320)
WHOLE_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480)
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
SEQUENCES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)


class Metrics:
    """What one application counts. It observes the engine (see `EngineObserver`), and is told of each request."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the number of series
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"troika_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(f"troika_{name}", text, labels, buckets=buckets, registry=self.registry)

        self._prompt_tokens = counter("prompt_tokens", "Prompt tokens of the requests that were admitted.")
        self._generation_tokens = counter("generation_tokens", "Tokens generated.")
        self._prefix_queries = counter("prefix_cache_queries", "Prompt tokens that were looked for in the KV cache.")
        self._prefix_hits = counter("prefix_cache_hits", "Prompt tokens that were found there, and not computed.")
        self._success = counter("request_success", "Replies ended, by how they did.", "finished_reason")
        for reason in FINISHED_REASONS:
            self._success.labels(reason)
        self._step_rows = histogram("iteration_tokens_total", "Tokens computed in one step.", ROWS)
        self._step_sequences = histogram("iteration_batch_size", "Sequences computed in one step.", SEQUENCES)
        self._step_seconds = histogram("iteration_duration_seconds", "Time of one step.", STEP_SECONDS)
        self._first_token = histogram("time_to_first_token_seconds", "From request to first token.", WAIT_SECONDS)
        self._inter_token = histogram("inter_token_latency_seconds", "From token to token.", STEP_SECONDS)
        self._queue = histogram("request_queue_time_seconds", "From request to a place in the batch.", WAIT_SECONDS)
        self._prefill = histogram("request_prefill_time_seconds", "From place to first token.", WAIT_SECONDS)
        self._decode = histogram("request_decode_time_seconds", "From first token to last.", WHOLE_SECONDS)
        self._latency = histogram("e2e_request_latency_seconds", "From request to end of reply.", WHOLE_SECONDS)
        self._per_token = histogram(
            "request_time_per_output_token_seconds", "Decode time of a reply over its tokens.", STEP_SECONDS
        )
        self._request_prompt = histogram("request_prompt_tokens", "Prompt tokens of a request.", TOKENS)
        self._request_output = histogram("request_generation_tokens", "Tokens of a reply.", TOKENS)

        self._http = counter("http_requests", "Answers sent, to the end.", "method", "route", "status")
        self._http_seconds = histogram(
            "http_request_duration_seconds", "From request to the answer's end.", WHOLE_SECONDS, "method", "route"
        )
        self._refused = counter("request_refusals", "Requests answered with an error, by its code.", "reason")

    # -- what the engine tells -------------------------------------------------------------------------------

    def on_step(self, stats: StepStats) -> None:
        self._step_rows.observe(stats.rows)
        self._step_sequences.observe(stats.sequences)
        self._step_seconds.observe(stats.seconds)

    def on_admission(self, prompt_tokens: int, reused: int, queue_s: float) -> None:
        self._prompt_tokens.inc(prompt_tokens)
        self._prefix_queries.inc(prompt_tokens)
        self._prefix_hits.inc(reused)
        self._queue.observe(queue_s)

    def on_token(self, gap_s: float, *, first: bool) -> None:
        self._generation_tokens.inc()
        (self._first_token if first else self._inter_token).observe(gap_s)

    def on_end(self, request: RequestSummary) -> None:
        self._success.labels(request.reason).inc()
        self._latency.observe(request.total_s)
        self._request_prompt.observe(request.prompt_tokens)
        self._request_output.observe(request.output_tokens)
        if request.admitted_s is not None and request.first_token_s is not None:
            self._prefill.observe(request.first_token_s - request.admitted_s)
            decode_s = request.total_s - request.first_token_s
            self._decode.observe(decode_s)
            if request.output_tokens > 1:
                self._per_token.observe(decode_s / (request.output_tokens - 1))

    # -- what the API tells ----------------------------------------------------------------------------------

    def on_answer(self, method: str, route: str, status: int, seconds: float, error: str | None) -> None:
        """An answer has been sent; `error` is the code of the error that it was or ended in."""
        self._http.labels(method, route, str(status)).inc()
        self._http_seconds.labels(method, route).observe(seconds)
        if error is not None:
            self._refused.labels(error).inc()


class ServiceState(Collector):
    """What is looked up when Prometheus asks."""

    def __init__(self, service: ChatService, lifecycle: Lifecycle, jobs: TrainingJobs) -> None:
        self._service = service
        self._lifecycle = lifecycle
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        engine, memory, jobs = self._service.status(), self._service.memory.counts(), self._jobs.counts()
        ready, stats = engine.ready, engine.stats
        slots = ready.max_sequences if ready else 0
        yield InfoMetricFamily("troika_model", "What is served.", self._info(engine))
        yield _gauge("num_requests_running", "Requests being computed.", engine.running)
        yield _gauge("num_requests_waiting", "Requests in the queue.", engine.waiting)
        yield _gauge(
            "kv_cache_usage_perc", "Share of the KV cache's slots in use, 0 to 1.", stats.slots_held / (slots or 1)
        )
        yield _gauge("kv_cache_slots", "Sequences that the KV cache has room for.", slots)
        yield _gauge("kv_cache_tokens", "Tokens in the KV cache, also for later reuse.", stats.cached_tokens)
        states = GaugeMetricFamily("troika_engine_state", "1 for the state that the engine is in.", labels=["state"])
        for state in STATES:
            states.add_metric([state], float(state == engine.state))
        yield states
        yield _gauge("engine_replicas", "Engines that share the work.", engine.replicas)
        yield _counter("engine_restarts", "Times that the engine process was replaced.", engine.restarts)
        yield _counter("conversations", "Conversations begun.", memory.conversations)
        yield _counter("conversation_turns", "Turns stored.", memory.turns)
        yield _gauge("conversation_turns_running", "Turns in the making.", memory.running)
        yield _gauge("http_requests_in_progress", "Requests whose answer has not been sent.", self._lifecycle.running)
        yield _gauge("draining", "1 while the service shuts down.", self._lifecycle.is_draining)
        live = GaugeMetricFamily("troika_training_jobs", "Training jobs that have not ended.", labels=["status"])
        ended = CounterMetricFamily("troika_training_jobs_ended", "Training jobs that have.", labels=["status"])
        for status in get_args(Status):
            (live if status in LIVE else ended).add_metric([status], jobs[status])
        yield from (live, ended)

    def _info(self, status: EngineStatus) -> dict[str, str]:
        return {
            "version": app.__version__,
            "model_name": self._service.source.name,
            "device": status.ready.device if status.ready else "",
            "precision": status.ready.precision if status.ready else "",
        }


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"troika_{name}", text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"troika_{name}", text, value)


def init_app(app: APIFlask, metrics: Metrics, service: ChatService, lifecycle: Lifecycle, jobs: TrainingJobs) -> None:
    registry = metrics.registry
    registry.register(ServiceState(service, lifecycle, jobs))
    ProcessCollector(registry=registry)
    ProcessCollector(namespace="troika_engine", pid=lambda: service.status().pid or "none", registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    app.extensions["metrics"] = metrics
    app.register_blueprint(blueprint)


EXPOSITION: dict[int | str, dict[str, str | dict[str, dict[str, Any]]]] = {
    200: {
        "description": "In Prometheus's text format, or OpenMetrics where that is asked for",
        "content": {"text/plain": {"schema": {"type": "string"}, "example": "troika_num_requests_running 3.0\n"}},
    }
}


@blueprint.get("/metrics")
@blueprint.doc(summary="Counts and times, for Prometheus", responses=EXPOSITION)
def metrics() -> Response:
    found = cast(Metrics, current_app.extensions["metrics"])
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(found.registry), content_type=content_type)
