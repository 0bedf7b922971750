# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes as it is rendered: valid for current versions of Kubernetes,
and by the rules of its README."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from harness import BUILD, ROOT, SERVICES
from kustomize import Document, containers, render

KUBERNETES = ROOT / "deploy" / "kubernetes"
FOLDERS = ("base", "overlays/dev", "overlays/production", "overlays/gpu")
# The pod-index label is there from 1.28 on; and the newest that the validator knows.
VERSIONS = ("1.28.0", "1.37.0")
# Seconds from SIGTERM to the end: not ready, then twice the drain at most.
STOP_SECONDS = 3 + 2 * 5
GRPC = {"capture": 50051, "inference": 50052, "aggregator": 50053}
# Who may call whom.
CALLERS = {
    "capture": {"gateway"},
    "inference": {"capture", "gateway"},
    "aggregator": {"capture", "inference", "gateway"},
    "gateway": set(),
}

pytestmark = pytest.mark.parametrize("folder", FOLDERS)


@pytest.fixture
def documents(folder: str) -> list[Document]:
    """All documents of an overlay."""
    return render(KUBERNETES / folder)


def of_kind(documents: list[Document], *kinds: str) -> Iterator[Document]:
    """Those of some kinds."""
    return (document for document in documents if document["kind"] in kinds)


def workloads(documents: list[Document]) -> dict[str, Document]:
    """StatefulSets and Deployments, by service."""
    found = of_kind(documents, "StatefulSet", "Deployment")
    return {d["metadata"]["name"].removeprefix("camherd-"): d for d in found}


def pod_of(workload: Document) -> Document:
    """The specification of its pods."""
    return workload["spec"]["template"]["spec"]


def selects(selector: dict[str, str], workload: Document) -> bool:
    """True if the labels of its pods are those asked for."""
    labels = workload["spec"]["template"]["metadata"]["labels"]
    return selector.items() <= labels.items()


def by_identity(documents: list[Document]) -> dict[tuple[str, str], Document]:
    """By kind and name."""
    return {(d["kind"], d["metadata"]["name"]): d for d in documents}


def test_kubectl_renders_the_same(folder: str, documents: list[Document]) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl; Debian 12 has none that reads this (1.20)")
    done = subprocess.run(
        [kubectl, "kustomize", str(KUBERNETES / folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and "must be a file" in done.stderr:
        pytest.skip("kubectl is older than 1.21")
    assert done.returncode == 0, done.stderr
    assert by_identity(documents) == by_identity(list(yaml.safe_load_all(done.stdout)))


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_valid(
    documents: list[Document], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would read megabytes of schemas anew for each document.
    read = functools.cache(kubernetes_validate.utils.schema_contents)
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", read)
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


def test_all_services_are_there_and_in_their_namespace(documents: list[Document]) -> None:
    assert set(workloads(documents)) == set(SERVICES)
    for document in documents:
        if document["kind"] == "Namespace":
            labels = document["metadata"]["labels"]
            assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        else:
            assert document["metadata"]["namespace"] == "camherd"
            assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "camherd"


def test_pods_have_no_privileges(documents: list[Document]) -> None:
    for name, workload in workloads(documents).items():
        pod = pod_of(workload)
        assert pod["automountServiceAccountToken"] is False, name
        assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), name
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 10000 and context["runAsGroup"] > 10000, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in containers(workload):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
        for volume in pod["volumes"]:
            assert "hostPath" not in volume, name
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"], name


def bytes_of(quantity: str) -> float:
    """Such as 512Mi."""
    number, unit = re.fullmatch(r"(\d+)(m|[KMGT]i)?", str(quantity)).groups()
    powers = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "m": 1e-3, None: 1}
    return float(number) * powers[unit]


def test_pods_ask_for_what_they_need(documents: list[Document]) -> None:
    for name, workload in workloads(documents).items():
        for container in containers(workload):
            asked, most = (container["resources"][key] for key in ("requests", "limits"))
            for what in ("cpu", "memory", "ephemeral-storage"):
                assert 0 < bytes_of(asked[what]) <= bytes_of(most[what]), (name, what)


def test_images_have_this_version(documents: list[Document]) -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text()
    version = re.search(r"project\(camherd VERSION ([\d.]+)", cmake)[1]
    for name, workload in workloads(documents).items():
        for container in containers(workload):
            image, _, tag = container["image"].rpartition(":")
            assert image.rsplit("/", 1)[-1] in (f"camherd-{name}", f"camherd-{name}-cuda")
            assert tag == version, container["image"]
            assert container["imagePullPolicy"] == "IfNotPresent"


def test_probes_ask_the_right_question(documents: list[Document]) -> None:
    for name, workload in workloads(documents).items():
        [container] = containers(workload)
        startup, live, ready = (
            container[f"{k}Probe"] for k in ("startup", "liveness", "readiness")
        )
        assert live != ready, name
        # A restart is the last resort: later than being taken out.
        for_live = live["periodSeconds"] * live["failureThreshold"]
        assert for_live > ready["periodSeconds"] * ready["failureThreshold"], name
        if name == "gateway":
            assert live["httpGet"]["path"] == "/livez"
        else:
            # Never a dependency, never a full disk.
            assert live["grpc"] == startup["grpc"] == {"port": GRPC[name], "service": "live"}
            assert ready["grpc"] == {"port": GRPC[name]}


def test_pods_have_time_to_end(documents: list[Document]) -> None:
    [settings] = of_kind(documents, "ConfigMap")
    for name, workload in workloads(documents).items():
        delay = settings["data"][f"CAMHERD_{name.upper()}_NOT_READY_DELAY_SECONDS"]
        assert int(delay) == 3
        assert pod_of(workload)["terminationGracePeriodSeconds"] >= STOP_SECONDS, name


def test_pods_of_a_kind_are_apart_and_go_one_by_one(documents: list[Document]) -> None:
    for name, workload in workloads(documents).items():
        terms = pod_of(workload)["affinity"]["podAntiAffinity"]
        [term] = terms.get("requiredDuringSchedulingIgnoredDuringExecution") or [
            one["podAffinityTerm"]
            for one in terms["preferredDuringSchedulingIgnoredDuringExecution"]
        ]
        assert term["topologyKey"] == "kubernetes.io/hostname", name
        assert selects(term["labelSelector"]["matchLabels"], workload), name
        [budget] = [
            one
            for one in of_kind(documents, "PodDisruptionBudget")
            if selects(one["spec"]["selector"]["matchLabels"], workload)
        ]
        assert budget["spec"]["maxUnavailable"] == 1


def peers(rule: Document) -> set[str]:
    """Services, and `cameras`, `dns`, or a namespace's name."""
    found = set()
    for peer in rule.get("from", rule.get("to")):
        if "ipBlock" in peer:
            found.add("cameras")
        elif "namespaceSelector" in peer:
            [space] = peer["namespaceSelector"]["matchLabels"].values()
            found.add("dns" if space == "kube-system" else space)
        else:
            name = peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
            found.add(name.removeprefix("camherd-"))
    return found


def test_nobody_is_reached_but_by_who_calls(documents: list[Document]) -> None:
    policies = {
        d["metadata"]["name"].removeprefix("camherd-"): d["spec"]
        for d in of_kind(documents, "NetworkPolicy")
    }
    everything = policies.pop("default-deny")
    assert everything == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert set(policies) == set(SERVICES)
    for name, policy in policies.items():
        assert selects(policy["podSelector"]["matchLabels"], workloads(documents)[name])
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        ports = {p["containerPort"] for p in containers(workloads(documents)[name])[0]["ports"]}
        allowed: dict[int, set[str]] = {port: set() for port in ports}
        for rule in policy["ingress"]:
            for port in rule["ports"]:
                allowed[port["port"]] |= peers(rule)
        metrics = allowed.pop(GRPC.get(name, 50054) + 10)
        assert metrics == {"monitoring"}, name
        for port, who in allowed.items():
            assert who == (CALLERS[name] or {"ingress-nginx"}), (name, port)
        called = {other for other, callers in CALLERS.items() if name in callers}
        out = set().union(*(peers(rule) for rule in policy["egress"]))
        # To the cameras capture only.
        assert out == called | {"dns"} | ({"cameras"} if name == "capture" else set())
        for rule in policy["egress"]:
            assert ("ports" in rule) != (peers(rule) == {"cameras"}), name
            for peer in rule["to"]:
                assert peer.get("ipBlock", {}).get("cidr") != "0.0.0.0/0"


def test_services_lead_to_pods(documents: list[Document]) -> None:
    for service in of_kind(documents, "Service"):
        spec = service["spec"]
        name = service["metadata"]["name"]
        if pod := spec["selector"].get("statefulset.kubernetes.io/pod-name"):
            assert pod == name
            name, _, number = name.rpartition("-")
            target = workloads(documents)[name.removeprefix("camherd-")]
            assert int(number) < target["spec"]["replicas"]
        else:
            [target] = [w for w in workloads(documents).values() if selects(spec["selector"], w)]
        names = {port["name"] for port in containers(target)[0]["ports"]}
        assert {port["targetPort"] for port in spec["ports"]} <= names, name


def test_each_shard_has_its_gateway(documents: list[Document]) -> None:
    capture, gateway = (workloads(documents)[name] for name in ("capture", "gateway"))
    assert capture["kind"] == gateway["kind"] == "StatefulSet"
    assert capture["spec"]["replicas"] == gateway["spec"]["replicas"]
    environment = containers(gateway)[0]["env"]
    order = [variable["name"] for variable in environment]
    # $(SHARD) is filled in with what stands before it.
    assert order.index("SHARD") < order.index("CAMHERD_GATEWAY_CAPTURE")
    [address] = [v["value"] for v in environment if v["name"] == "CAMHERD_GATEWAY_CAPTURE"]
    assert address == "camherd-capture-$(SHARD).camherd-capture:50051"
    names = {service["metadata"]["name"] for service in of_kind(documents, "Service")}
    for shard in range(capture["spec"]["replicas"]):
        assert f"camherd-gateway-{shard}" in names


def test_inference_is_scaled_by_queue_time(documents: list[Document]) -> None:
    [scaler] = of_kind(documents, "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "camherd-inference")
    [metric] = scaler["spec"]["metrics"]
    adapter = yaml.safe_load((ROOT / "deploy" / "prometheus" / "adapter.yml").read_text())
    assert metric["pods"]["metric"]["name"] == adapter["rules"][0]["name"]["as"]


def test_data_is_on_volumes(documents: list[Document]) -> None:
    claims = {one["metadata"]["name"] for one in of_kind(documents, "PersistentVolumeClaim")}
    for name, workload in workloads(documents).items():
        [container] = containers(workload)
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["data"] == "/var/lib/camherd", name
        templates = workload["spec"].get("volumeClaimTemplates", [])
        assert bool(templates) == (name in ("capture", "aggregator"))
        volumes = {volume["name"]: volume for volume in pod_of(workload)["volumes"]}
        own = {template["metadata"]["name"] for template in templates}
        assert set(mounts) == set(volumes) | own, name
        assert volumes["secrets"]["secret"] == {
            "secretName": "camherd-secrets",
            "defaultMode": 0o440,
        }
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in claims


def test_no_secret_is_in_the_manifests(documents: list[Document]) -> None:
    assert not list(of_kind(documents, "Secret"))


def test_the_services_take_these_settings(documents: list[Document], tmp_path: Path) -> None:
    [settings] = of_kind(documents, "ConfigMap")
    for name, workload in workloads(documents).items():
        environment = {"PATH": "/usr/bin", **settings["data"]}
        for variable in containers(workload)[0].get("env", []):
            environment[variable["name"]] = filled(variable)
        # As if the secret were mounted.
        for key in ("CAMHERD_GRPC_TOKEN_FILE", "CAMHERD_GATEWAY_TOKENS_FILE"):
            if environment.get(key):
                secret = tmp_path / key
                secret.touch(0o440)
                secret.chmod(0o600)
                secret.write_text(f"{'ab' * 32}" + (" admin root\n" if "TOKENS" in key else "\n"))
                environment[key] = str(secret)
        done = subprocess.run(
            [str(BUILD / "bin" / f"camherd-{name}"), "--check-config"]
            + ["--config", str(ROOT / "deploy" / "config" / "camherd.yaml")],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"


def filled(variable: dict[str, Any]) -> str:
    """The value of a variable in the first pod, on a node."""
    if "value" in variable:
        return variable["value"].replace("$(SHARD)", "0")
    field = variable["valueFrom"]["fieldRef"]["fieldPath"]
    return {
        "status.hostIP": "192.0.2.10",
        "metadata.labels['apps.kubernetes.io/pod-index']": "0",
    }[field]
