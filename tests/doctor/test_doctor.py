"""The self-check as it is run, on what works and on what was broken on purpose."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from alembic.script import ScriptDirectory

from app.doctor import services
from app.storage.database import MIGRATIONS
from config.settings import load_settings
from tests.models import save_chat_model
from tests.server import ROOT, clean_environment, free_port
from tests.storage.support import opened, postgresql_database


def doctor(folder: Path, **settings: object) -> tuple[int, dict[str, str]]:
    """Run `python -m app.doctor`; returns its exit code and its lines by what they are about."""
    hub = {"HF_HOME": str(folder / "hub"), "HF_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    defaults = {
        "database_url": f"sqlite:///{folder}/data/troika.db",
        "training_folder": f"{folder}/data/training",
        "engine_threads": 1,
    }
    result = subprocess.run(
        [sys.executable, "-m", "app.doctor"],
        cwd=ROOT,
        env=clean_environment(**defaults | settings) | hub,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert "Traceback" not in result.stderr, result.stderr
    lines = {line.split()[1]: line for line in result.stdout.splitlines()}
    for line in lines.values():
        assert line.startswith(("ok ", "warn", "fail")), line
        assert line.startswith("ok") or " → " in line, f"it does not say what to do: {line}"
    assert result.returncode == int(any(line.startswith("fail") for line in lines.values()))
    return result.returncode, lines


@pytest.mark.slow
def test_a_service_in_order_passes_every_check(tmp_path: Path) -> None:
    folder = save_chat_model(tmp_path / "model", n_positions=128)
    code, lines = doctor(tmp_path, model=folder)
    assert code == 0, lines
    assert list(lines) == [
        *(
            "settings",
            "access",
            "rate-limits",
            "processor",
            "data",
            "training",
            "models",
            "kernels",
            "temporary",
            "database",
            "mnist",
            "hub",
            "tokenizer",
            "memory",
        ),
        *("torch", "model", "parity", "determinism", "speed"),
    ]
    assert "no tables yet" in lines["database"]
    assert "not needed: the model is here" in lines["hub"]
    assert "oneDNN packed float32" in lines["kernels"] or "F.linear" in lines["kernels"]
    assert "differ from transformers' float32 by" in lines["parity"]
    assert "the same bits alone, again, and beside 15 others" in lines["determinism"]
    assert "tokens/s for one request" in lines["speed"]
    assert not (tmp_path / "data").exists(), "the check made what the first start should make"


def test_a_wrong_setting_is_all_there_is_to_say(tmp_path: Path) -> None:
    code, lines = doctor(tmp_path, port=0)
    assert (code, list(lines)) == (1, ["settings"])
    assert "TROIKA_PORT=0 is not allowed: it must be 1 to 65535." in lines["settings"]


def test_several_things_broken_at_once_are_each_told_with_what_to_do(tmp_path: Path) -> None:
    code, lines = doctor(tmp_path, model=tmp_path / "nowhere", database_url="sqlite:////proc/troika/troika.db", prot=1)
    assert code == 1
    assert lines["settings"].startswith("warn")
    assert "TROIKA_PROT" in lines["settings"]
    assert lines["access"].startswith("ok")
    assert lines["data"].startswith("fail")
    assert "the right to write to /proc" in lines["data"]
    assert "there is no such folder" in lines["model"]
    assert "TROIKA_MODEL=starter" in lines["model"]


@pytest.mark.slow
def test_weights_that_only_the_engine_can_judge_are_told(tmp_path: Path) -> None:
    folder = save_chat_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"this is no checkpoint")
    code, lines = doctor(tmp_path, model=folder)
    assert code == 1
    assert lines["model"].startswith("fail")
    assert "pytorch_model.bin" in lines["model"]


def test_a_model_that_is_not_here_without_a_hub_is_told(tmp_path: Path) -> None:
    code, lines = doctor(tmp_path, model="gpt2-medium")
    assert code == 1
    assert lines["hub"].startswith("fail")
    assert "127.0.0.1 cannot be reached" in lines["hub"]
    assert "give TROIKA_MODEL a folder or starter" in lines["hub"]
    assert lines["model"].startswith("warn")


def test_without_a_hub_auto_serves_the_starter(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    finding = services.hub("auto", is_here=False)
    assert finding.level == "warn"
    assert "the bundled starter is served" in finding.advice
    assert services.hub("auto", is_here=True).level == "ok"
    assert services.hub("starter", is_here=True).level == "ok"


def test_digits_to_learn_from_are_here_or_it_is_told_where_they_were_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("TROIKA_MNIST_PATH", raising=False)
    away = services.digits(load_settings())
    assert away.level == "ok"
    assert "mnist.npz isn't there" in away.found
    assert "the first training downloads it" in away.advice
    assert "drawn by code" in services.digits(load_settings(training_download=False)).advice
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    wrong = services.digits(load_settings(mnist_path=str(tmp_path / "broken.npz")))
    assert wrong.level == "warn"
    assert "TROIKA_MNIST_PATH" in wrong.advice
    images, labels = np.zeros((9, 28, 28), np.uint8), np.zeros(9, np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    here = services.digits(load_settings(mnist_path=str(tmp_path / "mnist.npz")))
    assert (here.level, here.advice) == ("ok", "")


def test_a_database_up_to_date_is_so(database_url: str) -> None:
    assert services.database(database_url).level == "ok"
    with opened(database_url):
        pass
    finding = services.database(database_url)
    assert finding.level == "ok"
    assert "its tables are up to date" in finding.found


def test_a_database_that_is_away_is_told() -> None:
    finding = services.database(f"postgresql://troika:secret@127.0.0.1:{free_port()}/troika")
    assert finding.level == "fail"
    assert "refused" in finding.found
    assert "correct TROIKA_DATABASE_URL" in finding.advice
    assert "secret" not in str(finding)


def test_a_database_that_only_reads_is_told() -> None:
    with postgresql_database() as url:
        finding = services.database(f"{url}?options=-cdefault_transaction_read_only%3Don")
    assert finding.level == "fail"
    assert "it only reads" in finding.found


def test_a_locked_database_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/troika.db"
    with opened(url):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "troika.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        finding = services.database(url, timeout_s=0.1)
    assert finding.level == "fail"
    assert "locked" in finding.found
    assert "which program holds it" in finding.advice


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "troika.db").write_bytes(b"these are not the tables you are looking for" * 100)
    finding = services.database(f"sqlite:///{tmp_path}/troika.db")
    assert finding.level == "fail"
    assert "not a database" in finding.found


@pytest.mark.parametrize(
    ("revision", "level", "said"), [("9999", "fail", "run the newer version"), ("first", "warn", "take a backup first")]
)
def test_tables_of_another_version_are_told(revision: str, level: str, said: str, database_url: str) -> None:
    script = ScriptDirectory(str(MIGRATIONS))
    if revision == "first":
        revision = script.get_base() or ""
        if revision == script.get_current_head():
            pytest.skip("there is only one migration as yet")
    with opened(database_url) as database, database.write() as session:
        session.connection().exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    finding = services.database(database_url)
    assert finding.level == level
    assert said in finding.advice
