"""Settings: where they come from, what is refused and how, and that the README lists them truly."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from config import settings as module
from config.settings import Settings, SettingsError, allowed_values, load_settings, unknown_variables
from tests.server import ROOT, clean_environment


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test, and a configuration folder of its own."""
    for name in list(module.os.environ):
        if name.startswith("TROIKA_") or name == "PORT":
            monkeypatch.delenv(name)
    monkeypatch.setattr(module, "CONFIG_FOLDER", tmp_path)


def test_environment_goes_before_toml_and_toml_before_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "any.toml").write_text('port = 6000\nprecision = "int8"\n', encoding="utf-8")
    monkeypatch.setenv("TROIKA_PORT", "7000")
    settings = load_settings()
    assert (settings.port, settings.precision, settings.device) == (7000, "int8", "auto")


def test_port_works_without_prefix_and_the_prefixed_one_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8000")
    assert load_settings().port == 8000
    monkeypatch.setenv("TROIKA_PORT", "8001")
    assert load_settings().port == 8001


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TROIKA_PORT", "abc"),
        ("TROIKA_PORT", "0"),
        ("TROIKA_PORT", "65536"),
        ("PORT", "http"),
        ("TROIKA_DEVICE", "gpu"),
        ("TROIKA_PRECISION", "fp8"),
        ("TROIKA_MODEL", "  "),
        ("TROIKA_REQUEST_TIMEOUT_S", "nan"),
        ("TROIKA_PREFIX_REUSE", "perhaps"),
        ("TROIKA_LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_value_is_one_sentence_with_name_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    name = "port" if variable == "PORT" else variable.removeprefix("TROIKA_").lower()
    assert str(caught.value) == f"{variable}={value} is not allowed: it must be {allowed_values(name)}."


def test_an_unknown_name_in_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "any.toml").write_text("prot = 6000\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="'prot', which is not a setting"):
        load_settings()


def test_a_broken_toml_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "any.toml").write_text("port = = 6000\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="TOML"):
        load_settings()


def test_a_misspelt_variable_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TROIKA_PROT", "1")
    monkeypatch.setenv("TROIKA_TEST_ANYTHING", "1")
    assert unknown_variables() == ["TROIKA_PROT"]


def test_a_bad_value_stops_gunicorn_with_that_sentence_alone() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "wsgi:app"],
        cwd=ROOT,
        env=clean_environment(port="abc"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == "troika: TROIKA_PORT=abc is not allowed: it must be 1 to 65535.\n"


@pytest.mark.parametrize("readme", ["README.md"])
def test_readme_lists_every_setting_as_it_is(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    rows = re.findall(r"^\| `TROIKA_([A-Z0-9_]+)` \| `([^|]*)` \| ([^|]+) \| (.+) \|$", text, re.MULTILINE)
    listed = {name.lower(): (default, allowed, meaning) for name, default, allowed, meaning in rows}
    assert listed.keys() == Settings.model_fields.keys()
    for name, field in Settings.model_fields.items():
        default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        assert listed[name] == (default or "–", allowed_values(name), field.description), name
