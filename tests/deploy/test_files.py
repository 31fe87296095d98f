"""The files that others run us with: read by the tools that will read them, and held against the code."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml

from config.settings import Settings
from tests.deploy.dockerfile import expand, parse

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SECRETS = {"POSTGRES_PASSWORD": "a1b2", "GRAFANA_PASSWORD": "c3d4"}
SETTINGS = {f"TROIKA_{name.upper()}" for name in Settings.model_fields}


def instructions(name: str) -> list[str]:
    return [i.rest for i in parse(ROOT / "Dockerfile") if i.name == name]


# -- Dockerfile ----------------------------------------------------------------------------------------------


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    result = subprocess.run([hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_process_1_is_gunicorn_and_no_shell_that_keeps_signals_to_itself() -> None:
    (command,) = (i.exec_form() for i in parse(ROOT / "Dockerfile") if i.name == "CMD")
    assert command == ["gunicorn", "-c", "config/gunicorn.py", "wsgi:app"]
    assert instructions("ENTRYPOINT") == []


def test_whatever_is_written_goes_to_the_volume() -> None:
    last = [i for i in parse(ROOT / "Dockerfile") if i.name == "ENV"][-1].pairs()
    assert instructions("VOLUME") == ["/data"]
    for name in ("HOME", "HF_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        assert last[name].startswith("/data"), name
    assert last["TROIKA_DATABASE_URL"].startswith("sqlite:////data/")
    for name, field in Settings.model_fields.items():
        # A relative folder would be made in the image, which cannot be written to.
        if isinstance(field.default, str) and "/" in field.default:
            assert "/data/" in last[f"TROIKA_{name.upper()}"], name
    assert {name for name in last if name.startswith("TROIKA_")} <= SETTINGS


@pytest.mark.parametrize(
    ("baked", "model"), [("", "auto"), ("gpt2", "/opt/models/gpt2"), ("a/b-small", "/opt/models/a/b-small")]
)
def test_a_baked_model_is_the_one_that_is_served(baked: str, model: str) -> None:
    last = [i for i in parse(ROOT / "Dockerfile") if i.name == "ENV"][-1].pairs()
    assert expand(last["TROIKA_MODEL"], {"BAKE_MODEL": baked}) == model


def test_the_image_does_not_stand_in_the_way_of_the_variable_port() -> None:
    """TROIKA_PORT goes before PORT: set in the image it would undo what a platform asks for."""
    assert not any("TROIKA_PORT" in i.pairs() for i in parse(ROOT / "Dockerfile") if i.name == "ENV")


def test_what_is_copied_is_in_the_build_context_and_nothing_else_is() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = {text.split()[0] for text in instructions("COPY") if not text.startswith("--from")}
    assert ignore[0] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == copied


# -- compose -------------------------------------------------------------------------------------------------


def compose(**environment: str) -> subprocess.CompletedProcess[str]:
    """`docker compose config`, by its own program, without an engine and without anybody's .env."""
    spec = importlib.util.find_spec("compose")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "docker-compose"
    return subprocess.run(
        [program, "--file", DEPLOY / "compose.yaml", "--env-file", os.devnull, "config", "--format", "json"],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    result = compose(**SECRETS)
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout)["services"])


@pytest.mark.parametrize("missing", SECRETS)
def test_compose_starts_nothing_without_its_passwords(missing: str) -> None:
    result = compose(**{k: v for k, v in SECRETS.items() if k != missing})
    assert result.returncode != 0
    assert f"required variable {missing} is missing a value: copy .env.example to .env" in result.stderr


def test_env_example_has_every_variable_of_compose_and_no_other() -> None:
    used = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text(encoding="utf-8")))
    used |= {s["environment"] for s in yaml.safe_load((DEPLOY / "compose.yaml").read_text())["secrets"].values()}
    lines = (DEPLOY / ".env.example").read_text(encoding="utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert set(example) == used
    assert not any(value for name, value in example.items() if re.search("PASSWORD|KEY", name)), "a secret stands there"
    assert "/deploy/.env" in (ROOT / ".gitignore").read_text().split()


def test_the_service_in_compose_is_closed_and_bounded(services: dict[str, Any]) -> None:
    troika = services["troika"]
    assert troika["read_only"] is True
    assert troika["cap_drop"] == ["ALL"]
    assert troika["security_opt"] == ["no-new-privileges:true"]
    assert troika["tmpfs"] == ["/tmp"]
    assert [v["target"] for v in troika["volumes"]] == instructions("VOLUME")
    assert troika["cpus"]
    assert troika["mem_limit"]
    assert {name for name in troika["environment"] if name.startswith("TROIKA_")} <= SETTINGS
    assert troika["environment"]["TROIKA_DATABASE_URL"] == "postgresql://troika:a1b2@postgres/troika"
    assert seconds(troika["stop_grace_period"]) >= int(troika["environment"]["TROIKA_GRACE_S"]) + 10
    assert all(port["host_ip"] == "127.0.0.1" for s in services.values() for port in s.get("ports", []))


def seconds(duration: str) -> int:
    minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration).groups()  # type: ignore[union-attr]
    return 60 * int(minutes or 0) + int(rest or 0)


def test_every_service_of_compose_has_a_health_check_that_others_wait_for(services: dict[str, Any]) -> None:
    assert set(services) == {"troika", "postgres", "redis", "prometheus", "grafana"}
    assert instructions("HEALTHCHECK")
    for name, service in services.items():
        assert name == "troika" or service["healthcheck"]["test"], name
        for other, wait in service.get("depends_on", {}).items():
            assert wait["condition"] == "service_healthy", (name, other)


def test_every_file_that_compose_mounts_is_there(services: dict[str, Any]) -> None:
    mounts = [v for s in services.values() for v in s.get("volumes", []) if v["type"] == "bind"]
    assert len(mounts) == 3
    for mount in mounts:
        assert Path(mount["source"]).exists(), mount
        assert mount["read_only"]


# -- Prometheus and Grafana's provisioning -------------------------------------------------------------------


def test_prometheus_scrapes_the_service_of_compose_where_it_shows_its_metrics(
    services: dict[str, Any], http: httpx.Client
) -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    assert http.get(job["metrics_path"]).text.startswith("# HELP")
    (target,) = job["static_configs"][0]["targets"]
    assert target == "troika:5000"
    (secret,) = services["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret['source']}"


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian has it in the package prometheus)")
    # It looks for the key, which is there only in the container.
    (tmp_path / "key").touch()
    config = (DEPLOY / "prometheus.yml").read_text().replace("/run/secrets/metrics_key", str(tmp_path / "key"))
    (tmp_path / "prometheus.yml").write_text(config)
    subprocess.run([promtool, "check", "config", tmp_path / "prometheus.yml"], check=True, capture_output=True)


def test_grafana_finds_its_data_source_and_dashboards(services: dict[str, Any]) -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "troika.yml").read_text())["providers"]
    targets = [v["target"] for v in services["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/troika.json" in targets
    assert services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in targets


# -- Kubernetes ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
    return {document["kind"]: document for document in documents}


def test_every_manifest_is_valid_to_the_letter(manifests: dict[str, dict[str, Any]]) -> None:
    assert list(manifests) == ["ServiceAccount", "PersistentVolumeClaim", "Deployment", "Service"]
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_a_misspelt_manifest_would_be_found(manifests: dict[str, dict[str, Any]]) -> None:
    wrong = json.loads(json.dumps(manifests["Deployment"]))
    wrong["spec"]["template"]["spec"]["terminationGraceSeconds"] = 50
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_the_pod_is_closed_bounded_and_ends_in_time(manifests: dict[str, dict[str, Any]]) -> None:
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (user,) = instructions("USER")
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == user
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert str(pod["securityContext"]["fsGroup"]) == user.split(":")[1]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp"}
    assert {"cpu", "memory"} == set(container["resources"]["limits"])
    assert pod["enableServiceLinks"] is False, "a service named troika would set TROIKA_PORT to tcp://…"
    grace = int(next(e["value"] for e in container["env"] if e["name"] == "TROIKA_GRACE_S"))
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= pause + grace + 10


def test_the_pod_s_settings_exist_and_its_secrets_are_references(manifests: dict[str, dict[str, Any]]) -> None:
    (container,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    for variable in container["env"]:
        assert variable["name"] in SETTINGS
        if re.search("KEY|PASSWORD|URL", variable["name"]):
            assert "secretKeyRef" in variable["valueFrom"], variable["name"]


def test_the_probes_ask_what_the_service_answers(manifests: dict[str, dict[str, Any]], http: httpx.Client) -> None:
    (container,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert str(port["containerPort"]) in instructions("EXPOSE")
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert [http.get(probe["path"]).status_code for probe in probes.values()] == [200, 200, 200]
    assert probes["livenessProbe"]["path"] == "/health/live"
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    claim = manifests["PersistentVolumeClaim"]["metadata"]["name"]
    volumes = manifests["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["persistentVolumeClaim"]["claimName"] == claim
