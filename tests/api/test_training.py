"""`/train-demo` over a socket, on SQLite and on PostgreSQL: jobs run, are followed, cancelled, read and plotted."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.training.digits import draw
from tests.api.test_chat import assert_error
from tests.server import LiveServer, serve
from tests.storage.support import KINDS, empty_database

Job = dict[str, Any]

QUICK = {"dataset": "digits", "train_fraction": 0.02, "epochs": 2, "seed": 1}
ENDLESS = {"dataset": "digits", "train_fraction": 0.05, "epochs": 100, "hidden_units": 2000}
"""Long enough never to end by itself in a test."""

BUSY_S = 300.0
"""Training processes are the least urgent of the machine, and workers wait for each other: other tests hold them up."""

NOBODYS = "train_" + "0" * 32
FINAL = {"done", "error", "cancelled"}
PATIENCE_S = 2.0
"""A second is promised for a cancellation, and takes a tenth; the rest is for a machine that others keep busy."""


@pytest.fixture(scope="module", params=KINDS)
def stored_in(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database of this module's own."""
    with empty_database(request.param, tmp_path_factory.mktemp("training")) as url:
        yield url


@pytest.fixture(scope="module")
def server(stored_in: str, chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("server")
    with serve(folder, model=chat_model, database_url=stored_in, training_max_waiting=2) as server:
        yield server


@pytest.fixture
def http(server: LiveServer) -> Iterator[httpx.Client]:
    """A client; jobs that the test leaves behind are cancelled."""
    with server.client() as client:
        yield client
        for job in client.get("/train-demo", params={"limit": 100}).json()["jobs"]:
            if job["status"] in ("queued", "running"):
                client.delete(f"/train-demo/{job['id']}")


@pytest.fixture(scope="module")
def done(server: LiveServer) -> Job:
    """A job that has come to its end."""
    with server.client() as http:
        response = http.post("/train-demo", params={"wait": "true"}, json=QUICK)
    assert response.status_code == 200, response.text
    return dict(response.json())


def start(http: httpx.Client, **options: object) -> Job:
    response = http.post("/train-demo", json=options)
    assert response.status_code == 202, response.text
    return dict(response.json())


def read(http: httpx.Client, job: Job) -> Job:
    response = http.get(job["links"]["self"])
    assert response.status_code == 200, response.text
    return dict(response.json())


def wait_for(server: LiveServer, http: httpx.Client, job: Job, *statuses: str) -> Job:
    server.wait_until(lambda: read(http, job)["status"] in statuses, BUSY_S)
    return read(http, job)


Event = tuple[int, str, dict[str, Any]]


def parse(lines: Iterator[str]) -> Iterator[Event]:
    """The events of a stream as they come, without comments."""
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield int(fields["id"]), fields["event"], json.loads(fields["data"])
            fields = {}


def events(http: httpx.Client, job: Job, last: int | None = None) -> list[Event]:
    """All events of a job after the one numbered `last`, to the stream's end."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    with http.stream("GET", job["links"]["events"], headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(parse(response.iter_lines()))


# -- a job ---------------------------------------------------------------------------------------------------


def test_a_job_is_accepted_at_once_with_id_and_links(http: httpx.Client) -> None:
    response = http.post("/train-demo", json=QUICK)
    job = response.json()
    assert response.status_code == 202
    assert response.headers["Location"] == job["links"]["self"] == f"/train-demo/{job['id']}"
    contract = {"id", "status", "options", "dataset", "history", "progress", "eta_s", "result", "error", "links"}
    assert contract <= set(job)
    assert job["status"] in ("queued", "running")
    assert job["options"] | QUICK == job["options"]
    assert set(job["links"]) == {"self", "events", "predict", "plot_png", "plot_svg"}


def test_a_job_comes_to_a_result(done: Job) -> None:
    assert (done["status"], done["progress"], done["eta_s"], done["error"]) == ("done", 1.0, None, None)
    assert done["dataset"]["name"] == "digits"
    assert done["dataset"]["reason"] == "asked for"
    assert [epoch["epoch"] for epoch in done["history"]] == [1, 2]
    result = done["result"]
    assert result["test_loss"] > 0
    assert 0.5 < result["test_accuracy"] <= 1
    assert result["history"] == done["history"]
    matrix = np.array(result["confusion_matrix"])
    assert matrix.shape == (10, 10)
    assert np.trace(matrix) / matrix.sum() == pytest.approx(result["test_accuracy"])
    assert [layer["type"] for layer in result["summary"]] == ["Flatten", "Dense", "Dropout", "Dense"]
    cost = result["cost"]
    assert cost["parameters"] == sum(layer["parameters"] for layer in result["summary"]) == 101_770
    assert (cost["forward_flops"], cost["multiply_adds_forward"]) == (203_264, 101_632)
    assert cost["backward_flops"] > cost["forward_flops"]
    assert min(cost[name] for name in ("predicted_step_s", "measured_step_s", "predicted_total_s")) > 0
    created, began, ended = (done[name] for name in ("created_at", "started_at", "finished_at"))
    assert created <= began < ended


def test_the_surest_mistakes_come_as_small_pictures(done: Job) -> None:
    mistakes = done["result"]["mistakes"]
    assert mistakes
    assert [each["confidence"] for each in mistakes] == sorted((each["confidence"] for each in mistakes), reverse=True)
    for mistake in mistakes:
        assert mistake["label"] != mistake["predicted"]
        with Image.open(io.BytesIO(base64.b64decode(mistake["image"]))) as picture:
            assert (picture.format, picture.size) == ("PNG", (28, 28))


def test_without_options_the_article_s_run_is_made(http: httpx.Client) -> None:
    job = http.post("/train-demo").json()
    assert job["options"]["epochs"] == 5
    assert job["options"]["dataset"] == "auto"
    assert isinstance(job["options"]["seed"], int)


def test_a_form_does_as_well_as_json(http: httpx.Client) -> None:
    form = {"dataset": "digits", "hidden_units": "64,32", "early_stopping": "3", "augment": "true", "dropout": "0.1"}
    options = http.post("/train-demo", data=form).json()["options"]
    assert options["hidden_units"] == [64, 32]
    assert (options["early_stopping"], options["augment"], options["dropout"]) == (3, True, 0.1)


def test_the_same_seed_gives_the_same_result(http: httpx.Client, done: Job) -> None:
    again = http.post("/train-demo", params={"wait": "true"}, json=QUICK).json()
    for name in ("test_loss", "test_accuracy", "confusion_matrix"):
        assert again["result"][name] == done["result"][name]


def test_several_workers_give_the_result_of_one(http: httpx.Client, done: Job) -> None:
    job = http.post("/train-demo", params={"wait": "true"}, json=QUICK | {"workers": 2}, timeout=BUSY_S).json()
    assert (job["status"], job["options"]["workers"]) == ("done", 2)
    for name in ("test_loss", "test_accuracy"):
        assert job["result"][name] == pytest.approx(done["result"][name], rel=0.01)


def test_more_workers_than_the_service_allows_or_the_batch_feeds_are_refused(http: httpx.Client) -> None:
    refused = http.post("/train-demo", json=QUICK | {"workers": 5})
    assert "this service allows 4" in assert_error(refused, 422, "workers")
    assert_error(http.post("/train-demo", json=QUICK | {"workers": 0}), 422, "workers")
    assert_error(http.post("/train-demo", data={"workers": "3", "batch_size": "2"}), 422, "workers")


def test_a_running_job_shows_how_far_it_is(server: LiveServer, http: httpx.Client) -> None:
    job = start(http, **ENDLESS)
    server.wait_until(lambda: read(http, job)["step"] is not None)
    running = read(http, job)
    assert running["status"] == "running"
    assert 0 < running["progress"] < 1
    assert running["eta_s"] > 0
    assert running["dataset"]["train"] == 3000
    assert running["result"] is None
    server.wait_until(lambda: read(http, job)["progress"] > running["progress"])


def test_jobs_are_listed_newest_first_in_pages(http: httpx.Client, done: Job) -> None:
    older, newer = (http.post("/train-demo", params={"wait": "true"}, json=QUICK).json() for _ in range(2))
    first = http.get("/train-demo", params={"limit": 2}).json()
    assert [job["id"] for job in first["jobs"]] == [newer["id"], older["id"]]
    assert first["jobs"][0]["result"]["test_accuracy"] == newer["result"]["test_accuracy"]
    assert first["jobs"][0]["result"]["confusion_matrix"] is None
    seen, page = [job["id"] for job in first["jobs"]], first
    while page["next"]:
        page = http.get(page["next"]).json()
        seen += [job["id"] for job in page["jobs"]]
    assert len(seen) == len(set(seen))
    assert done["id"] in seen


# -- following -----------------------------------------------------------------------------------------------


def test_events_tell_a_run_from_its_start_to_its_end(http: httpx.Client) -> None:
    job = start(http, **QUICK | {"train_fraction": 0.2, "epochs": 3, "hidden_units": 512})
    told = events(http, job)
    names = [name for _, name, _ in told]
    numbers = [number for number, _, _ in told]
    assert names[0] == "started"
    assert names[-1] == "done"
    assert not FINAL & set(names[:-1])
    assert numbers == sorted(set(numbers))
    assert [data["epoch"] for _, name, data in told if name == "epoch"] == [1, 2, 3]
    batches = [data for _, name, data in told if name == "batch"]
    assert batches
    assert all(0 < data["progress"] <= 1 and data["eta_s"] >= 0 and data["loss"] > 0 for data in batches)
    assert told[0][2]["dataset"]["name"] == "digits"
    assert told[-1][2] == read(http, job)


def test_events_of_a_finished_job_are_the_same_without_the_batches(http: httpx.Client, done: Job) -> None:
    told = events(http, done)
    assert [name for _, name, _ in told] == ["started", "epoch", "epoch", "done"]
    assert told == events(http, done)
    assert told[-1][2] == done


def test_a_stream_goes_on_after_the_event_that_was_seen_last(http: httpx.Client) -> None:
    job = start(http, **QUICK | {"train_fraction": 0.2, "epochs": 4})
    seen: list[Event] = []
    with http.stream("GET", job["links"]["events"]) as response:
        lines = response.iter_lines()  # by its name it lives until the end; its own end would close the connection
        for event in parse(lines):
            seen.append(event)
            if event[1] == "epoch":
                break
    rest = events(http, job, last=seen[-1][0])
    assert min(number for number, _, _ in rest) > seen[-1][0]
    whole = seen + rest
    assert [data["epoch"] for _, name, data in whole if name == "epoch"] == [1, 2, 3, 4]
    assert [name for _, name, _ in whole if name in FINAL] == ["done"]


def test_who_has_seen_the_end_is_told_to_ask_no_more(http: httpx.Client, done: Job) -> None:
    last = events(http, done)[-1][0]
    assert http.get(done["links"]["events"], headers={"Last-Event-ID": str(last)}).status_code == 204


def test_a_last_event_id_that_is_none_is_refused(http: httpx.Client, done: Job) -> None:
    for wrong in ("x", "-1", "1.5", "9" * 30):
        response = http.get(done["links"]["events"], headers={"Last-Event-ID": wrong})
        assert wrong[:20] in assert_error(response, 422, "Last-Event-ID")


def test_a_listener_that_leaves_disturbs_nothing_and_several_hear_the_same(http: httpx.Client) -> None:
    job = start(http, **QUICK | {"train_fraction": 0.2})
    with http.stream("GET", job["links"]["events"]) as response:
        next(response.iter_lines())
    with ThreadPoolExecutor() as pool:
        heard = list(pool.map(lambda _: events(http, job), range(4)))
    epochs = [[event for event in told if event[1] in ("epoch", "done")] for told in heard]
    assert len(epochs[0]) == 3
    assert all(each == epochs[0] for each in epochs)


def test_listeners_are_bounded_so_that_chat_keeps_its_threads(server: LiveServer, http: httpx.Client) -> None:
    job = start(http, **ENDLESS)
    many = httpx.Client(base_url=server.url, limits=httpx.Limits(max_connections=None), timeout=60)
    with many, contextlib.ExitStack() as streams:
        statuses = [streams.enter_context(many.stream("GET", job["links"]["events"])).status_code for _ in range(33)]
        assert statuses == [200] * 32 + [503]
        assert http.post("/chat", json={"input": "Hello", "max_new_tokens": 4}).status_code == 200
    http.delete(job["links"]["self"])
    server.wait_until(lambda: http.get(job["links"]["events"]).status_code == 200)


# -- cancelling ----------------------------------------------------------------------------------------------


def test_a_running_job_is_cancelled_within_a_second(server: LiveServer, http: httpx.Client) -> None:
    job = start(http, **ENDLESS)
    server.wait_until(lambda: read(http, job)["step"] is not None)
    asked = time.monotonic()
    response = http.delete(job["links"]["self"])
    assert time.monotonic() - asked < PATIENCE_S
    assert response.status_code == 200
    assert response.json()["status"] == "cancelled"
    assert read(http, job) == response.json()
    assert [name for _, name, _ in events(http, job) if name in FINAL] == ["cancelled"]
    assert_error(http.post(job["links"]["predict"], json={"image": [[0] * 28] * 28}), 409, "job_id")


def test_a_waiting_job_is_cancelled_before_it_begins(server: LiveServer, http: httpx.Client) -> None:
    running, waiting = start(http, **ENDLESS), start(http, **ENDLESS)
    wait_for(server, http, running, "running")
    assert read(http, waiting)["status"] == "queued"
    cancelled = http.delete(waiting["links"]["self"]).json()
    assert (cancelled["status"], cancelled["started_at"]) == ("cancelled", None)
    assert [name for _, name, _ in events(http, waiting)] == ["cancelled"]
    assert read(http, running)["status"] == "running"


def test_a_stream_that_is_open_hears_of_the_cancellation(server: LiveServer, http: httpx.Client) -> None:
    job = start(http, **ENDLESS)
    with http.stream("GET", job["links"]["events"]) as response:
        told = []
        for event in parse(response.iter_lines()):
            told.append(event)
            if event[1] == "batch":
                http.delete(job["links"]["self"])
    assert [name for _, name, _ in told if name in FINAL] == ["cancelled"]


def test_a_job_that_has_ended_is_deleted_with_its_weights(http: httpx.Client, server: LiveServer) -> None:
    job = http.post("/train-demo", params={"wait": "true"}, json=QUICK).json()
    weights = server.log_file.parent / "training" / job["id"] / "weights.safetensors"
    assert weights.is_file()
    deleted = http.delete(job["links"]["self"])
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert not weights.parent.exists()
    for link in ("self", "events", "plot_png"):
        assert_error(http.get(job["links"][link]), 404, "job_id")


# -- the queue -----------------------------------------------------------------------------------------------


def test_one_runs_some_wait_and_more_are_refused(server: LiveServer, http: httpx.Client) -> None:
    jobs = [start(http, **ENDLESS) for _ in range(3)]
    wait_for(server, http, jobs[0], "running")
    response = http.post("/train-demo", json=QUICK)
    assert "2 more wait" in assert_error(response, 429, None)
    assert int(response.headers["Retry-After"]) >= 1
    assert [read(http, job)["status"] for job in jobs] == ["running", "queued", "queued"]
    http.delete(jobs[0]["links"]["self"])
    wait_for(server, http, jobs[1], "running")
    assert read(http, jobs[2])["status"] == "queued"
    assert http.post("/train-demo", json=QUICK).status_code == 202


# -- the classifier ------------------------------------------------------------------------------------------


def test_a_drawn_digit_is_read_as_numbers_and_as_a_picture_of_any_size(http: httpx.Client, done: Job) -> None:
    images, labels = draw(40, seed=77)
    right = 0
    for image, label in zip(images, labels, strict=True):
        reading = http.post(done["links"]["predict"], json={"image": image.tolist()}).json()
        assert set(reading) == {"digit", "probabilities"}
        assert len(reading["probabilities"]) == 10
        assert sum(reading["probabilities"]) == pytest.approx(1)
        assert reading["digit"] == int(np.argmax(reading["probabilities"]))
        right += reading["digit"] == label
    assert right > 20
    for size, inverted in ((28, False), (280, False), (333, True), (57, True)):
        content = io.BytesIO()
        picture = Image.fromarray(255 - images[0] if inverted else images[0])
        picture.resize((size, size)).save(content, "PNG")
        response = http.post(done["links"]["predict"], files={"image": content.getvalue()})
        assert response.status_code == 200, response.text
        assert len(response.json()["probabilities"]) == 10


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"image": [[0] * 28] * 27}, "image"),
        ({"image": [[0] * 27] * 28}, "image.0"),
        ({"image": [[0] * 27 + [256]] * 28}, "image.0.27"),
        ({"image": [[0] * 27 + [-1]] * 28}, "image.0.27"),
        ({"image": [[0] * 27 + ["x"]] * 28}, "image.0.27"),
        ({"image": [[0] * 28] * 28}, "image"),
        ({"image": "a picture"}, "image"),
        ({"picture": [[0] * 28] * 28}, "image"),
        ({}, "image"),
        ([], None),
    ],
)
def test_a_bad_drawing_is_422_and_named(http: httpx.Client, done: Job, body: object, param: str | None) -> None:
    assert_error(http.post(done["links"]["predict"], json=body), 422, param)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\ncut short", b"GIF89a"])
def test_a_bad_picture_is_422(http: httpx.Client, done: Job, content: bytes) -> None:
    assert_error(http.post(done["links"]["predict"], files={"image": content}), 422, "image")


def test_an_upload_of_something_else_is_refused_by_name(http: httpx.Client, done: Job) -> None:
    assert_error(http.post(done["links"]["predict"], data={"colour": "red"}), 422, "colour")
    assert_error(http.post(done["links"]["predict"], files={"other": b"x"}), 422, "image")
    assert_error(http.post(done["links"]["predict"], content=b"x", headers={"Content-Type": "image/png"}), 415, None)


# -- pictures ------------------------------------------------------------------------------------------------


def test_plots_are_pictures_of_both_kinds(http: httpx.Client, done: Job) -> None:
    png, svg = http.get(done["links"]["plot_png"]), http.get(done["links"]["plot_svg"])
    assert (png.headers["content-type"], svg.headers["content-type"]) == ("image/png", "image/svg+xml; charset=utf-8")
    with Image.open(io.BytesIO(png.content)) as picture:
        assert picture.format == "PNG"
        assert picture.width > 3 * 400  # loss, accuracy and confusion matrix
    assert ET.fromstring(svg.text).tag == "{http://www.w3.org/2000/svg}svg"


def test_several_runs_are_plotted_together(http: httpx.Client, done: Job) -> None:
    other = http.post("/train-demo", params={"wait": "true"}, json=QUICK | {"seed": 2}).json()
    ids = f"{done['id']},{other['id']}"
    response = http.get("/train-demo/plot.svg", params={"ids": ids})
    assert response.status_code == 200
    with Image.open(io.BytesIO(http.get("/train-demo/plot.png", params={"ids": ids}).content)) as picture:
        assert picture.format == "PNG"
    alone = http.get("/train-demo/plot.svg", params={"ids": done["id"]})
    assert len(response.text) > len(alone.text)


def test_a_comparison_that_can_t_be_made_is_refused(http: httpx.Client, done: Job) -> None:
    assert_error(http.get("/train-demo/plot.png"), 422, "ids")
    assert_error(http.get("/train-demo/plot.png", params={"ids": NOBODYS}), 404, "job_id")
    many = ",".join(f"train_{number:032x}" for number in range(9))
    assert "9 jobs" in assert_error(http.get("/train-demo/plot.png", params={"ids": many}), 422, "ids")
    assert_error(http.get("/train-demo/plot.gif", params={"ids": done["id"]}), 404, "job_id")


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"epochs": 0}, "epochs"),
        ({"epochs": 101}, "epochs"),
        ({"epoch": 3}, "epoch"),
        ({"dataset": "cifar"}, "dataset"),
        ({"optimizer": "lion"}, "optimizer"),
        ({"momentum": 0.5}, "momentum"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"hidden_units": [64, 0]}, "hidden_units.1"),
        ({"hidden_units": "many"}, "hidden_units"),
        ({"hidden_units": [4096, 4096]}, "hidden_units"),
        ({"early_stopping": 0}, "early_stopping"),
        ({"early_stopping": "maybe"}, "early_stopping"),
        ({"seed": -1}, "seed"),
        ([], None),
        (0, None),
    ],
)
def test_a_wrong_option_is_422_and_named(http: httpx.Client, options: object, param: str | None) -> None:
    assert_error(http.post("/train-demo", json=options), 422, param)


def test_other_bad_requests_are_told_what_is_wrong(http: httpx.Client) -> None:
    json_type = {"Content-Type": "application/json"}
    assert_error(http.post("/train-demo", content="{", headers=json_type), 400, None)
    assert_error(http.post("/train-demo", params={"wait": "maybe"}), 422, "wait")
    assert_error(http.post("/train-demo", params={"await": "true"}), 422, "await")
    assert_error(http.get("/train-demo", params={"limit": 0}), 422, "limit")
    assert_error(http.get("/train-demo", params={"before": NOBODYS}), 404, "job_id")


@pytest.mark.parametrize("job_id", [NOBODYS, "nothing", "train_%00", "train_" + "é" * 32])
def test_an_unknown_job_is_404_everywhere(http: httpx.Client, job_id: str) -> None:
    path = f"/train-demo/{job_id}"
    drawing = {"image": [[0] * 28] * 28}
    for response in (
        http.get(path),
        http.delete(path),
        http.get(f"{path}/events"),
        http.get(f"{path}/plot.png"),
        http.post(f"{path}/predict", json=drawing),
    ):
        assert_error(response, 404, "job_id")
