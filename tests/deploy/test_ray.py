"""`deploy/ray`: the manifest against Kubernetes's schemas, Ray's own and the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml

from app.engine.cluster.messages import APPLICATION
from tests.deploy.test_files import DEPLOY, ROOT, SETTINGS, instructions

Manifests = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    documents = yaml.safe_load_all((DEPLOY / "ray" / "rayservice.yaml").read_text(encoding="utf-8"))
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


@pytest.fixture(scope="module")
def ray_service(manifests: Manifests) -> dict[str, Any]:
    return manifests["RayService", "troika"]["spec"]


def ray_pods(ray_service: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = ray_service["rayClusterConfig"]
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def every_pod(manifests: Manifests) -> list[dict[str, Any]]:
    web = manifests["Deployment", "troika-web"]["spec"]["template"]
    return [*ray_pods(manifests["RayService", "troika"]["spec"]), web]


def validate(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_all_but_kuberay_s_own_is_valid_to_the_letter(manifests: Manifests) -> None:
    for (kind, _), manifest in manifests.items():
        if kind != "RayService":
            validate(manifest)
    for pod in every_pod(manifests):
        metadata = {"name": "pod"} | pod.get("metadata", {})
        validate({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]})


def test_only_ray_and_the_service_reach_ray_s_ports(manifests: Manifests) -> None:
    label = {"troika.part-of": "ray"}
    assert all(label.items() <= pod["metadata"]["labels"].items() for pod in every_pod(manifests))
    policy = manifests["NetworkPolicy", "troika-ray"]["spec"]
    assert policy["podSelector"]["matchLabels"] == label
    (rule,) = policy["ingress"]
    assert rule["from"][0] == {"podSelector": {"matchLabels": label}}
    assert len(rule["from"]) == 2, "and KubeRay's operator"
    # HTTP, and nothing else, is for everybody.
    (rule,) = manifests["NetworkPolicy", "troika-web"]["spec"]["ingress"]
    assert rule == {"ports": [{"port": "http", "protocol": "TCP"}]}
    (port,) = manifests["Service", "troika-web"]["spec"]["ports"]
    assert port["targetPort"] == "http"


def test_settings_exist_secrets_are_references_and_all_run_one_image(manifests: Manifests) -> None:
    images = set()
    for pod in every_pod(manifests):
        for container in pod["spec"]["containers"]:
            images.add(container["image"])
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}
            for variable in container.get("env", []):
                name = variable["name"]
                assert name in SETTINGS or not name.startswith("TROIKA_")
                if re.search("KEY|PASSWORD|URL|TOKEN", name):
                    assert "secretKeyRef" in variable["valueFrom"], name
    assert images == {"troika-ray:latest"}


def test_a_node_has_the_processors_that_its_replica_reserves(ray_service: dict[str, Any]) -> None:
    head, worker = (pod["spec"]["containers"][0] for pod in ray_pods(ray_service))
    assert head["env"] == worker["env"], "the head deploys what the nodes run"
    settings = {variable["name"]: variable["value"] for variable in worker["env"]}
    assert worker["resources"]["limits"]["cpu"] == settings["TROIKA_CLUSTER_CPUS"]
    (group,) = ray_service["rayClusterConfig"]["workerGroupSpecs"]
    assert group["minReplicas"] == int(settings["TROIKA_CLUSTER_REPLICAS"])
    assert group["maxReplicas"] == int(settings["TROIKA_CLUSTER_MAX_REPLICAS"])


def test_ray_s_version_is_the_one_that_the_image_installs(ray_service: dict[str, Any]) -> None:
    version = ray_service["rayClusterConfig"]["rayVersion"]
    assert f"ray[serve]=={version}\n" in (ROOT / "requirements-ray.txt").read_text()
    assert any("requirements${RAY:+-ray}.txt" in rest for rest in instructions("RUN"))
    assert "requirements-ray.txt ." in instructions("COPY")


def test_what_ray_deploys_is_what_the_service_looks_for(ray_service: dict[str, Any]) -> None:
    config = yaml.safe_load(ray_service["serveConfigV2"])
    (application,) = config["applications"]
    assert application["name"] == APPLICATION
    module, name = application["import_path"].split(":")
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    assert f"\ndef {name}(" in Path(spec.origin).read_text(encoding="utf-8")
    assert application["route_prefix"] is None, "replies go through the service, and no other way"


def test_the_service_s_node_joins_the_head_that_kuberay_makes(manifests: Manifests) -> None:
    pod = manifests["Deployment", "troika-web"]["spec"]["template"]["spec"]
    service, node = pod["containers"]
    assert f"--address={manifests['RayService', 'troika']['metadata']['name']}-head-svc:6379" in node["command"]
    assert "--num-cpus=0" in node["command"]
    # They find each other by files, and share memory.
    assert service["volumeMounts"] == node["volumeMounts"]
    assert {mount["mountPath"] for mount in node["volumeMounts"]} == {"/data", "/tmp", "/dev/shm"}
    assert {"name": "TROIKA_ENGINE", "value": "ray"} in service["env"]


def test_the_probes_ask_what_the_service_answers(manifests: Manifests, http: httpx.Client) -> None:
    service = manifests["Deployment", "troika-web"]["spec"]["template"]["spec"]["containers"][0]
    assert [port["containerPort"] for port in service["ports"]] == [int(port) for port in instructions("EXPOSE")]
    for probe in ("livenessProbe", "readinessProbe"):
        assert http.get(service[probe]["httpGet"]["path"]).status_code == 200
    grace = int(next(e["value"] for e in service["env"] if e["name"] == "TROIKA_GRACE_S"))
    pod = manifests["Deployment", "troika-web"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= grace + 10
