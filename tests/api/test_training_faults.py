"""Training jobs when something breaks: the job says what, nothing else is affected, and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.test_auth import make_key
from tests.api.test_chat import assert_error
from tests.api.test_training import BUSY_S, ENDLESS, FINAL, QUICK, Job, events, parse, read, start, wait_for
from tests.server import LiveServer, children, serve
from tests.storage.support import KINDS, empty_database

pytestmark = pytest.mark.slow


@pytest.fixture(params=KINDS)
def stored_in(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of this test's own."""
    with empty_database(request.param, tmp_path) as url:
        yield url


@pytest.fixture(scope="module")
def server(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A service that all this happens to in turn. It knows of no MNIST and may not download it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        with serve(tmp_path_factory.mktemp("server"), model=chat_model) as server:
            yield server


@pytest.fixture(scope="module")
def limited(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One that keeps a single classifier and three records, stops runs after some seconds, and has a bad data file."""
    folder = tmp_path_factory.mktemp("limited")
    file = folder / "mnist.npz"
    file.write_bytes(b"PK\x03\x04 cut short")
    limits = {"training_kept": 1, "training_records_kept": 3, "training_max_s": 15}
    with serve(folder, model=chat_model, mnist_path=file, **limits) as server:
        yield server


def folder_of(server: LiveServer, job: Job) -> Path:
    """Where the files of a job are, if there are any."""
    return server.log_file.parent / "training" / str(job["id"])


def run(http: httpx.Client, **options: object) -> Job:
    """A job that has ended."""
    response = http.post("/train-demo", params={"wait": "true"}, json=QUICK | options)
    assert response.status_code == 200, response.text
    return dict(response.json())


def training_processes(server: LiveServer) -> list[int]:
    """Those that this service has started."""
    found = []
    for worker in children(server.process.pid):
        for child in children(worker):
            with contextlib.suppress(OSError):
                if b"app.training" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(child)
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def begin(server: LiveServer, http: httpx.Client, **options: object) -> tuple[Job, int]:
    """A job that trains, and its process."""
    job = start(http, **ENDLESS | options)
    server.wait_until(lambda: read(http, job)["step"] is not None, BUSY_S)
    (pid,) = training_processes(server)
    return job, pid


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 20
    while is_running(pid):
        assert time.monotonic() < deadline, "the training process outlived the service"
        time.sleep(0.05)


def assert_still_serving(http: httpx.Client) -> None:
    assert http.post("/chat", json={"input": "Hello", "max_new_tokens": 4}).status_code == 200
    assert run(http)["status"] == "done"


# -- processes that end too soon -----------------------------------------------------------------------------


def test_a_training_process_that_is_killed_is_a_failed_job_and_the_service_goes_on(server: LiveServer) -> None:
    with server.client() as http:
        job, pid = begin(server, http)
        with http.stream("GET", job["links"]["events"]) as response:
            told = parse(response.iter_lines())
            next(told)
            os.kill(pid, signal.SIGKILL)
            rest = list(told)
        assert rest[-1][1] == "error"
        assert "SIGKILL" in rest[-1][2]["error"]["message"]
        failed = read(http, job)
        assert (failed["status"], failed["error"]["code"], failed["result"]) == ("failed", "crashed", None)
        assert "SIGKILL" in failed["error"]["message"]
        assert [name for _, name, _ in events(http, job) if name in FINAL] == ["error"]
        assert not folder_of(server, job).exists()
        assert_still_serving(http)


def test_a_worker_that_is_killed_is_a_failed_job_too(server: LiveServer) -> None:
    with server.client() as http:
        job, pid = begin(server, http, workers=2)
        (worker,) = children(pid)
        os.kill(worker, signal.SIGKILL)
        failed = wait_for(server, http, job, "failed", "done")
        assert (failed["status"], failed["error"]["code"], failed["result"]) == ("failed", "crashed", None)
        assert "Worker 2 of 2" in failed["error"]["message"]
        assert "SIGKILL" in failed["error"]["message"]
        wait_for_end(pid)
        assert_still_serving(http)


def test_a_service_that_is_killed_leaves_no_worker(chat_model: Path, tmp_path: Path) -> None:
    with serve(tmp_path, model=chat_model) as server, server.client() as http:
        _, pid = begin(server, http, workers=2)
        (worker,) = children(pid)
        for each in (server.process.pid, *children(server.process.pid)):
            os.kill(each, signal.SIGKILL)
        wait_for_end(worker)


def test_a_stop_from_outside_is_an_interruption_and_no_cancellation(server: LiveServer) -> None:
    with server.client() as http:
        job, pid = begin(server, http)
        os.kill(pid, signal.SIGTERM)
        assert wait_for(server, http, job, "interrupted", "cancelled")["status"] == "interrupted"


# -- the service stops ---------------------------------------------------------------------------------------


def test_after_a_restart_finished_jobs_are_there_and_the_others_interrupted(
    stored_in: str, chat_model: Path, tmp_path: Path
) -> None:
    settings = {"model": chat_model, "database_url": stored_in}
    with serve(tmp_path, **settings) as server, server.client() as http:
        done = run(http)
        told = events(http, done)
        running, pid = begin(server, http)
        waiting = start(http, **ENDLESS)
        server.process.terminate()
        server.process.wait(timeout=60)
        wait_for_end(pid)
    with serve(tmp_path, **settings) as server, server.client() as http:
        assert read(http, done) == done
        assert events(http, done) == told
        assert http.post(done["links"]["predict"], json={"image": [[0] * 28] * 14 + [[255] * 28] * 14}).is_success
        for job in (running, waiting):
            interrupted = read(http, job)
            assert (interrupted["status"], interrupted["error"]["code"]) == ("interrupted", "interrupted")
            assert [name for _, name, _ in events(http, job) if name in FINAL] == ["error"]
        assert training_processes(server) == []


def test_a_service_that_is_killed_leaves_no_process_and_no_job_that_seems_to_run(
    stored_in: str, chat_model: Path, tmp_path: Path
) -> None:
    settings = {"model": chat_model, "database_url": stored_in}
    with serve(tmp_path, **settings) as server, server.client() as http:
        job, pid = begin(server, http)
        workers = children(server.process.pid)
        for each in (server.process.pid, *workers):
            os.kill(each, signal.SIGKILL)
        wait_for_end(pid)
    with serve(tmp_path, **settings) as server, server.client() as http:
        assert read(http, job)["status"] == "interrupted"
        assert not (tmp_path / "training" / job["id"]).exists()


def test_a_stream_that_is_open_hears_of_the_service_s_end(chat_model: Path, tmp_path: Path) -> None:
    with serve(tmp_path, model=chat_model) as server, server.client() as http:
        job, pid = begin(server, http)
        with http.stream("GET", job["links"]["events"]) as response:
            told = parse(response.iter_lines())
            next(told)
            server.process.terminate()
            name, data = list(told)[-1][1:]
        assert (name, data["error"]["code"]) == ("error", "training_interrupted")
        server.process.wait(timeout=60)
        wait_for_end(pid)


# -- several processes of the service ------------------------------------------------------------------------


def test_services_that_share_a_database_see_and_cancel_each_other_s_jobs(
    stored_in: str, chat_model: Path, tmp_path: Path
) -> None:
    settings = {"model": chat_model, "database_url": stored_in}
    with (
        serve(tmp_path, **settings) as first,
        first.client() as here,
        serve(tmp_path, **settings) as second,
        second.client() as there,
    ):
        job, pid = begin(first, here)
        second.wait_until(lambda: read(there, job)["step"] is not None)
        assert read(there, job)["status"] == "running"
        with there.stream("GET", job["links"]["events"]) as response:
            told = []
            for event in parse(response.iter_lines()):
                told.append(event)
                if event[1] == "batch":
                    break
        assert told[0][1] == "started"
        response = there.delete(job["links"]["self"])
        assert response.status_code in (200, 202)
        assert wait_for(first, here, job, "cancelled", "failed", "interrupted")["status"] == "cancelled"
        assert wait_for(second, there, job, "cancelled", "failed", "interrupted")["status"] == "cancelled"
        wait_for_end(pid)
        assert [name for _, name, _ in events(there, job) if name in FINAL] == ["cancelled"]


# -- files ---------------------------------------------------------------------------------------------------


def test_a_dataset_that_can_t_be_had_fails_the_job_and_says_where_it_was_looked_for(server: LiveServer) -> None:
    with server.client() as http:
        failed = run(http, dataset="mnist")
        assert (failed["status"], failed["error"]["code"]) == ("failed", "dataset")
        assert "mnist.npz isn't there, and downloads are off" in failed["error"]["message"]


def test_a_bad_data_file_fails_the_job_that_wants_it_alone(limited: LiveServer) -> None:
    file = limited.log_file.parent / "mnist.npz"
    with limited.client() as http:
        failed = run(http, dataset="mnist")
        assert (failed["status"], failed["error"]["code"]) == ("failed", "dataset")
        assert str(file) in failed["error"]["message"]
        assert_error(http.post(failed["links"]["predict"], json={"image": [[0] * 28] * 28}), 409, "job_id")
        assert http.get(failed["links"]["plot_png"]).status_code == 200
        makes_do = run(http, dataset="auto")
        assert (makes_do["status"], makes_do["dataset"]["name"]) == ("done", "digits")
        assert str(file) in makes_do["dataset"]["reason"]
        assert_still_serving(http)


def test_the_real_mnist_is_taken_where_the_setting_says(chat_model: Path, tmp_path: Path) -> None:
    path = os.environ.get("TROIKA_MNIST_PATH")
    if not path:
        pytest.skip("TROIKA_MNIST_PATH does not say where the real mnist.npz is")
    with serve(tmp_path, model=chat_model, mnist_path=path) as server, server.client() as http:
        job = http.post("/train-demo", params={"wait": "true"}, json={"train_fraction": 0.1, "epochs": 1}).json()
        assert (job["status"], job["dataset"]["name"]) == ("done", "mnist")
        assert path in job["dataset"]["reason"]
        assert job["result"]["test_accuracy"] > 0.8


def test_a_full_disk_fails_the_job_that_meets_it(server: LiveServer) -> None:
    with server.client() as http:
        job = start(http, **QUICK)
        server.wait_until(lambda: bool(training_processes(server)))
        # A limit on the size of files stands in for the disk's: the write fails at the same place.
        resource.prlimit(training_processes(server)[0], resource.RLIMIT_FSIZE, (16384, 16384))
        failed = wait_for(server, http, job, "failed", "done")
        assert (failed["status"], failed["error"]["code"]) == ("failed", "storage")
        assert "File too large" in failed["error"]["message"]
        assert not folder_of(server, job).exists()
        assert_still_serving(http)


def test_a_folder_that_can_t_be_made_fails_jobs_and_not_the_start(chat_model: Path, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("no folder", encoding="utf-8")
    with serve(tmp_path, model=chat_model, training_folder=in_the_way) as server, server.client() as http:
        failed = run(http)
        assert (failed["status"], failed["error"]["code"]) == ("failed", "storage")
        assert str(in_the_way) in failed["error"]["message"]
        assert http.post("/chat", json={"input": "Hello", "max_new_tokens": 4}).status_code == 200


def test_weights_that_are_gone_or_damaged_are_told(server: LiveServer) -> None:
    drawing = {"image": [[0] * 28] * 14 + [[255] * 28] * 14}
    with server.client() as http:
        job = run(http)
        file = folder_of(server, job) / "weights.safetensors"
        whole = file.read_bytes()
        file.write_bytes(whole[:1000])
        assert_error(http.post(job["links"]["predict"], json=drawing), 500, None)
        file.write_bytes(whole)
        assert http.post(job["links"]["predict"], json=drawing).status_code == 200
        file.unlink()
        assert "Train again" in assert_error(http.post(job["links"]["predict"], json=drawing), 410, "job_id")


# -- limits --------------------------------------------------------------------------------------------------


def test_a_run_stops_when_its_time_is_up_and_keeps_what_it_has_learnt(limited: LiveServer) -> None:
    with limited.client() as http:
        job = http.post("/train-demo", params={"wait": "true"}, json=ENDLESS).json()
        assert job["status"] == "done"
        assert "time limit of 15 s" in job["result"]["stopped"]
        assert http.post(job["links"]["predict"], json={"image": [[0] * 27 + [255]] * 28}).status_code == 200


def test_only_so_many_classifiers_are_kept(limited: LiveServer) -> None:
    with limited.client() as http:
        older, newer = (run(http) for _ in range(2))
        drawing = {"image": [[0] * 28] * 14 + [[255] * 28] * 14}
        limited.wait_until(lambda: http.post(older["links"]["predict"], json=drawing).status_code == 410)
        assert http.post(newer["links"]["predict"], json=drawing).status_code == 200
        assert read(http, older)["status"] == "done"


def test_only_so_many_records_are_kept(limited: LiveServer) -> None:
    with limited.client() as http:
        jobs = [run(http) for _ in range(4)]
        limited.wait_until(lambda: http.get(jobs[0]["links"]["self"]).status_code == 404)
        assert [job["id"] for job in http.get("/train-demo").json()["jobs"]] == [job["id"] for job in jobs[:0:-1]]


# -- owners --------------------------------------------------------------------------------------------------


def test_a_foreign_job_is_not_there(chat_model: Path, tmp_path: Path) -> None:
    (alices, alice), (bobs, bob) = make_key("alice"), make_key("bob")
    with serve(tmp_path, model=chat_model, api_keys=f"{alice},{bob}") as server:
        with server.client(headers={"Authorization": f"Bearer {alices}"}) as http:
            job = run(http)
            running = start(http, **ENDLESS)
        with server.client(headers={"Authorization": f"Bearer {bobs}"}) as http:
            assert http.get("/train-demo").json()["jobs"] == []
            for each in (job, running):
                path = each["links"]["self"]
                for response in (
                    http.get(path),
                    http.delete(path),
                    http.get(f"{path}/events"),
                    http.get(f"{path}/plot.png"),
                    http.get("/train-demo/plot.png", params={"ids": each["id"]}),
                    http.get("/train-demo", params={"before": each["id"]}),
                    http.post(f"{path}/predict", json={"image": [[0] * 28] * 28}),
                ):
                    assert_error(response, 404, "job_id")
        with server.client(headers={"Authorization": f"Bearer {alices}"}) as http:
            assert read(http, job) == job
            assert http.delete(running["links"]["self"]).json()["status"] == "cancelled"
        with server.client() as http:
            assert http.get(job["links"]["self"]).status_code == 401
            assert http.post("/train-demo").status_code == 401
