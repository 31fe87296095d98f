"""How the service starts and refuses to: real gunicorn, real processes."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.models import save_chat_model
from tests.server import ROOT, clean_environment, free_port, serve


def start(folder: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a start that must end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "wsgi:app"],
        cwd=ROOT,
        env=clean_environment(**{"port": free_port()} | settings) | {"HF_HOME": str(folder / "hub")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def sentences(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("troika: ")]


def test_a_missing_folder_stops_the_start(tmp_path: Path) -> None:
    result = start(tmp_path, model=tmp_path / "nowhere")
    assert result.returncode == 1
    assert sentences(result) == [f"troika: TROIKA_MODEL={tmp_path}/nowhere: there is no such folder."]
    assert "Traceback" not in result.stderr


def test_another_architecture_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")
    result = start(tmp_path, model=tmp_path)
    assert result.returncode == 1
    assert "model_type is 'llama', but only 'gpt2' can be served" in sentences(result)[0]


def test_weights_that_only_the_engine_can_judge_stop_the_start_too(tmp_path: Path) -> None:
    folder = save_chat_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"this is no checkpoint")
    result = start(tmp_path, model=folder)
    assert result.returncode == 4
    assert "pytorch_model.bin" in sentences(result)[0]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("tokenizer.json", "{", "the tokenizer files in"),
        ("chat_template.jinja", "{{ " + "9" * 5000 + " }}", "chat_template cannot be compiled"),
        ("chat_template.jinja", "{% for %}", "chat_template is no valid Jinja"),
    ],
)
def test_a_damaged_tokenizer_or_template_stops_the_start(file: str, content: str, said: str, tmp_path: Path) -> None:
    folder = save_chat_model(tmp_path / "model")
    (folder / file).write_text(content, encoding="utf-8")
    result = start(tmp_path, model=folder, database_url=f"sqlite:///{tmp_path}/troika.db")
    assert result.returncode == 4
    assert said in sentences(result)[0]
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed here")
def test_a_cluster_without_ray_stops_the_start_and_the_command(tmp_path: Path) -> None:
    why = "is not installed: pip install -r requirements-ray.txt"
    result = start(tmp_path, model="starter", engine="ray", database_url=f"sqlite:///{tmp_path}/troika.db")
    assert result.returncode == 4
    assert sentences(result) == [f"troika: TROIKA_ENGINE=ray needs ray, which {why}"]
    command = [sys.executable, "-m", "app.engine.cluster", "status"]
    result = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"troika: ray {why}\n")


def test_auto_without_a_network_serves_the_starter_within_seconds(tmp_path: Path) -> None:
    hub = {"HF_HOME": str(tmp_path / "hub"), "HF_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in hub.items():
            patch.setenv(name, value)
        with serve(tmp_path, model="auto") as server:
            model = httpx.get(f"{server.url}/health").json()["model"]
            assert model["name"] == "starter"
            assert "could not be downloaded" in model["reason"]
            reply = httpx.post(f"{server.url}/chat", data={"input": "Hello"}, timeout=60).json()
            assert reply["model"] == "starter"
            assert reply["finish_reason"] == "stop"
            assert reply["reply"].strip()


def test_a_misspelt_setting_is_named_in_the_log(tmp_path: Path) -> None:
    with serve(tmp_path, model=save_chat_model(tmp_path / "model"), prot=1) as server:
        assert "TROIKA_PROT is not a setting" in server.log


def test_an_engine_that_never_comes_up_stops_the_start(tmp_path: Path) -> None:
    """Guards against a service that tries for ever, and tells only its log."""
    fault = "import os, sys\nif 'app.engine.process' in sys.orig_argv: os._exit(3)\n"
    (tmp_path / "sitecustomize.py").write_text(fault, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        result = start(tmp_path, model=save_chat_model(tmp_path / "model"), database_url=f"sqlite:///{tmp_path}/t.db")
    assert result.returncode == 4
    assert "The engine process ended 5 times before it could serve" in sentences(result)[0]


def test_a_stalled_engine_is_told_of_and_replaced_and_streams_go_on(tmp_path: Path) -> None:
    """Also: what is computed again is not counted again."""
    with (
        serve(tmp_path, model=save_chat_model(tmp_path / "model"), stall_timeout_s=4) as server,
        server.client() as client,
    ):
        request = {"input": "Go on.", "max_new_tokens": 1500, "seed": 3}
        alone = client.post("/chat", json=request).json()
        with client.stream("POST", "/chat", json=request | {"stream": True}) as response:
            events = response.iter_text()
            text = next(events)
            os.kill(server.engine_pid(), signal.SIGSTOP)

            def code() -> str | None:
                error = httpx.get(f"{server.url}/health/ready", timeout=10).json().get("error")
                return error and str(error["code"])

            server.wait_until(lambda: code() == "stalled")
            server.wait_until(lambda: code() == "crashed")
            text += "".join(events)
        done = json.loads(text.rpartition("event: done\ndata: ")[2])
        assert done["reply"] == alone["reply"]
        metrics = client.get("/metrics").text.splitlines()
        prompt = alone["usage"]["prompt_tokens"]
        for sample in (
            "engine_restarts_total 1.0",
            f"prompt_tokens_total {2 * prompt}.0",
            "generation_tokens_total 3000.0",
        ):
            assert f"troika_{sample}" in metrics


def test_the_service_process_never_imports_torch(tmp_path: Path) -> None:
    with serve(tmp_path, model="starter") as server:
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        for pid in (str(server.process.pid), *children):
            assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()


def test_health_tells_loading_ready_and_restarting(tmp_path: Path) -> None:
    with serve(tmp_path, model=save_chat_model(tmp_path / "model"), wait=False) as server, server.client() as client:
        states = set()

        def is_ready() -> bool:
            try:
                response = client.get("/health")
            except httpx.HTTPError:
                return False
            engine = response.json()["engine"]
            states.add(engine["state"])
            assert (response.status_code == 200) == (engine["state"] == "ready")
            return bool(engine["state"] == "ready")

        server.wait_until(is_ready)
        assert client.get("/health/live").json() == {"status": "live"}
        assert client.get("/health/ready").json() == {"status": "ready"}
        os.kill(server.engine_pid(), signal.SIGKILL)
        server.wait_until(lambda: not is_ready())
        assert client.get("/health/live").status_code == 200
        server.wait_until(is_ready)
        assert client.get("/health").json()["engine"]["restarts"] == 1
        assert {"ready", "restarting"} <= states


def test_sigterm_leaves_no_process_behind(tmp_path: Path) -> None:
    with serve(tmp_path, model=save_chat_model(tmp_path / "model")) as server:
        engine = server.engine_pid()
        server.process.terminate()
        server.process.wait(timeout=30)
        deadline = time.monotonic() + 20
        while Path(f"/proc/{engine}").exists():
            assert time.monotonic() < deadline, "the engine process outlived the service"
            time.sleep(0.05)
