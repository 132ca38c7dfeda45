"""The files for containers and clusters say what the service needs, and nothing that it doesn't know."""

import json
import re
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
yaml = pytest.importorskip("yaml", reason="PyYAML isn't installed")
pytestmark = pytest.mark.skipif(not DEPLOY.is_dir(), reason="no checkout: deploy/ isn't here")


def manifests():
    return [m for f in sorted(DEPLOY.glob("k8s/*.yaml")) for m in yaml.safe_load_all(f.read_text()) if m]


def of(kind):
    return {m["metadata"]["name"]: m for m in manifests() if m["kind"] == kind}


def test_manifests_are_of_the_kinds_and_versions_clusters_know():
    known = {("apps/v1", "Deployment"), ("v1", "Service"), ("autoscaling/v2", "HorizontalPodAutoscaler"), ("policy/v1", "PodDisruptionBudget"), ("v1", "PersistentVolumeClaim")}
    assert {(m["apiVersion"], m["kind"]) for m in manifests()} == known


def test_manifests_are_valid_to_a_cluster():
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate isn't installed")
    for m in manifests():
        kubernetes_validate.validate(m, "1.30", strict=True)


def test_pods_are_limited_probed_and_unprivileged():
    for name, d in of("Deployment").items():
        pod = d["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        for c in pod["containers"]:
            assert {"cpu", "memory"} <= set(c["resources"]["limits"]) and {"cpu", "memory"} <= set(c["resources"]["requests"])
            assert {"readinessProbe", "livenessProbe"} <= set(c)
            assert c["securityContext"]["readOnlyRootFilesystem"] and not c["securityContext"]["allowPrivilegeEscalation"]
            assert ":" in c["image"] and not c["image"].endswith(":latest")


def test_selectors_ports_and_claims_meet():
    deployments, claims = of("Deployment"), of("PersistentVolumeClaim")
    for name, s in of("Service").items():
        pod = deployments[name]["spec"]["template"]
        assert s["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        ports = {p["name"] for c in pod["spec"]["containers"] for p in c["ports"]}
        assert {p["targetPort"] for p in s["spec"]["ports"]} <= ports
    for d in deployments.values():
        assert d["spec"]["selector"]["matchLabels"] == d["spec"]["template"]["metadata"]["labels"]
        volumes = {v["name"]: v for v in d["spec"]["template"]["spec"].get("volumes", [])}
        for c in d["spec"]["template"]["spec"]["containers"]:
            assert {m["name"] for m in c.get("volumeMounts", [])} <= set(volumes)
        assert {v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v} <= set(claims)
    assert of("HorizontalPodAutoscaler")["movierec"]["spec"]["scaleTargetRef"]["name"] in deployments


def variables():
    "Every MOVIEREC_ variable that the files set."
    return set(re.findall(r"\b(MOVIEREC_[A-Z_]+)\b", "".join(p.read_text() for p in DEPLOY.rglob("*") if p.is_file())))


def test_only_settings_that_exist_are_set():
    from movierec.service.settings import Settings

    known = {f"MOVIEREC_{n.upper()}" for n in Settings.model_fields} | {"MOVIEREC_HOME", "MOVIEREC_PROGRESS", "MOVIEREC_BUNDLE_DIR"}
    assert variables() <= known, variables() - known


def test_probed_paths_and_plotted_metrics_exist():
    from fastapi import FastAPI

    from movierec.service.routes import State, install

    app = FastAPI()
    app.state.service = State()
    paths = set(install(app).openapi()["paths"])
    probed = {c[p]["httpGet"]["path"] for c in of("Deployment")["movierec"]["spec"]["template"]["spec"]["containers"] for p in c if p.endswith("Probe")}
    assert probed == {"/healthz", "/readyz"} <= paths
    board = json.loads((DEPLOY / "grafana.json").read_text())
    names = set(re.findall(r"\b(?:movierec|http)_[a-z_]+", " ".join(t["expr"] for p in board["panels"] for t in p["targets"])))
    ours = {m.name for m in app.state.metrics.registry.collect()} | {f"movierec_cache_{n}" for n in ("hits", "misses", "up")}
    plain = {re.sub(r"_(total|bucket|sum|count)$", "", n) for n in names}
    assert plain <= ours | {"http_requests", "http_request_duration_seconds"}, plain - ours


def test_the_image_runs_as_nobody_special_and_is_checked():
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER 10001$", text, re.M) and "HEALTHCHECK" in text and "-slim" in text
    assert not re.search(r"^(ADD|COPY \.)", text, re.M)
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(compose) == {"movierec", "redis"} and compose["movierec"]["read_only"] is True
    assert (DEPLOY / compose["movierec"]["build"]["context"] / compose["movierec"]["build"]["dockerfile"]).is_file()
