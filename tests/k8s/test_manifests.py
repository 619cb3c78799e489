"""Manifests as kustomize builds them: valid, closed, and with what flows need."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flows import settings
from flows.enforced.loading import load as enforce_load
from flows.slices import Slice
from ops import cli, health
from tests.k8s.built import (
    K8S,
    built,
    containers,
    environment,
    instruction,
    pods,
    secrets,
)

KUBERNETES = "1.33"
OVERLAYS = ("overlays/dev", "overlays/production")
FOLDERS = sorted(
    str(path.parent.relative_to(K8S))
    for path in K8S.rglob("kustomization.yaml")
    if "components" not in path.parts
)
FLOWS = {"flows.payments", "flows.alerts", "flows.chargebacks"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_built_is_valid_kubernetes(folder: str) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    for (kind, _), doc in built(folder).items():
        # Prometheus' operator has kinds of its own.
        if not doc["apiVersion"].startswith("monitoring.coreos.com/"):
            assert validator.validate(doc, KUBERNETES, strict=True) == KUBERNETES, kind


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_policy_checker_finds_nothing_but_what_is_meant(folder: str) -> None:
    checker = shutil.which("kube-score")
    if checker is None:
        pytest.skip("no kube-score on the PATH: .ci/tools makes it where Go is")
    command = [
        checker, "score", "-", "--output-format", "ci", "--kubernetes-version", f"v{KUBERNETES}",
        # A limit of CPU stops a batch in the middle; requests share what there is.
        "--ignore-container-cpu-limit",
        # A release's tag never moves, and a restart should need no registry.
        "--ignore-test", "container-image-pull-policy",
    ]  # fmt: skip
    if folder not in OVERLAYS:
        # Whose tag it is.
        command += ["--ignore-test", "container-image-tag"]
    every = "---\n".join(json.dumps(doc) + "\n" for doc in built(folder).values())
    done = subprocess.run(command, input=every, capture_output=True, text=True)
    found = [
        line for line in done.stdout.splitlines() if not re.match(r"\[(OK|SKIPPED)\]", line)
    ]
    assert not found
    assert done.returncode == 0, done.stderr


def test_every_manifest_is_applied_by_some_folder() -> None:
    named = "\n".join(path.read_text() for path in K8S.rglob("kustomization.yaml"))
    others = {
        "kustomization.yaml", "secret.example.yaml", "rules.yaml", "rules_test.yaml",
        ".checkov.yaml", "prometheus.yaml",
    }  # fmt: skip
    files = {path.name for path in K8S.rglob("*.yaml")} - others
    assert {name for name in files if name not in named} == set()


def test_production_has_each_flow_and_dev_the_first() -> None:
    def run(folder: str) -> set[str]:
        every = [each for pod in pods(folder).values() for each in containers(pod)]
        return {each["args"][0] for each in every if "args" in each}

    assert run("overlays/production") == FLOWS
    assert run("overlays/dev") == {"flows.payments"}
    assert {json.loads(instruction("CMD"))[0]} <= FLOWS


@pytest.mark.parametrize("folder", OVERLAYS)
def test_references_lead_somewhere(folder: str) -> None:
    applied = built(folder)
    for name, template in pods(folder).items():
        spec, labels = template["spec"], template["metadata"]["labels"]
        stateful = applied.get(("StatefulSet", name))
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert ("ServiceAccount", spec["serviceAccountName"]) in applied
        if stateful:
            service = applied["Service", stateful["spec"]["serviceName"]]["spec"]
            assert service["clusterIP"] == "None"
            assert service["selector"].items() <= labels.items()
            assert stateful["spec"]["selector"]["matchLabels"].items() <= labels.items()
            ports = {port["name"] for each in containers(template) for port in each["ports"]}
            assert {port["targetPort"] for port in service["ports"]} == ports
            claims = stateful["spec"]["volumeClaimTemplates"]
            volumes |= {claim["metadata"]["name"] for claim in claims}
        for each in containers(template):
            assert {mount["name"] for mount in each["volumeMounts"]} <= volumes
            for entry in each["env"]:
                if "valueFrom" in entry:
                    reference = entry["valueFrom"]["secretKeyRef"]
                    assert reference["name"] == "millstream-secrets"
                    assert reference["key"] in secrets()
        if spec.get("priorityClassName"):
            assert ("PriorityClass", spec["priorityClassName"]) in applied


@pytest.mark.parametrize("folder", OVERLAYS)
def test_every_pod_is_behind_a_policy_and_a_flow_may_be_drained(folder: str) -> None:
    """Nothing comes in but to the metrics' ports, so not to where processes link either."""
    for name, template in pods(folder).items():
        labels = template["metadata"]["labels"]

        def of_it(doc: dict[str, Any], key: str, labels: dict[str, str] = labels) -> bool:
            return bool(doc["spec"][key]["matchLabels"].items() <= labels.items())

        policies = [
            doc["spec"]
            for (kind, _), doc in built(folder).items()
            if kind == "NetworkPolicy" and of_it(doc, "podSelector")
        ]
        (policy,) = policies
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
        open_ports = {p["port"] for rule in policy.get("ingress", []) for p in rule["ports"]}
        assert all(rule["from"] for rule in policy.get("ingress", []))
        assert open_ports == {
            port["name"] for each in containers(template) for port in each.get("ports", [])
        }
        assert all(rule["ports"] for rule in policy["egress"])
        budgets = [
            doc["spec"]["maxUnavailable"]
            for (kind, _), doc in built(folder).items()
            if kind == "PodDisruptionBudget" and of_it(doc, "selector")
        ]
        assert budgets == ([1] if ("StatefulSet", name) in built(folder) else [])


def test_links_between_processes_stay_in_their_pod() -> None:
    template = pods("overlays/production")["millstream-payments"]
    processes = containers(template)
    told = [environment("overlays/production", each) for each in processes]
    assert [each["BYTEWAX_PROCESS_ID"] for each in told] == ["0", "1", "2"]
    (addresses,) = {each["BYTEWAX_ADDRESSES"] for each in told}
    assert all(each.startswith("127.0.0.1:") for each in addresses.split(";"))
    assert len(set(addresses.split(";"))) == len(processes)
    ports = [each.get("BYTEWAX_DATAFLOW_API_PORT", "3030") for each in told]
    assert [str(each["ports"][0]["containerPort"]) for each in processes] == ports
    for each in processes:
        (name,) = {port["name"] for port in each["ports"]}
        assert each["startupProbe"]["httpGet"]["port"] == name
        # Which port it is the command knows of the settings.
        for probe in ("livenessProbe", "readinessProbe"):
            program, command, *flags = each[probe]["exec"]["command"]
            args = cli.parser(command).parse_args([command, *flags])
            assert (program, args.func) == ("millstream", health.run)
            assert args.ready is (probe == "readinessProbe")


@pytest.mark.parametrize("folder", OVERLAYS)
def test_pods_may_do_nothing_that_they_need_not(folder: str) -> None:
    for template in pods(folder).values():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        # Else other services' names could become settings.
        assert spec["enableServiceLinks"] is False
        assert all(v["emptyDir"]["sizeLimit"] for v in spec["volumes"] if "emptyDir" in v)
        for each in containers(template):
            security = each["securityContext"]
            assert security["readOnlyRootFilesystem"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert not security["allowPrivilegeEscalation"]
            assert {"cpu", "memory", "ephemeral-storage"} == each["resources"][
                "requests"
            ].keys()
            assert {"memory", "ephemeral-storage"} == each["resources"]["limits"].keys()
            assert each["image"] != "millstream", "its tag is the overlay's"
    for (kind, _), doc in built(folder).items():
        assert kind != "Secret"
        if kind == "ServiceAccount":
            assert doc["automountServiceAccountToken"] is False


@pytest.mark.parametrize("folder", OVERLAYS)
def test_flows_can_write_only_where_a_volume_is_and_see_sigterm(folder: str) -> None:
    for name, template in pods(folder).items():
        if ("StatefulSet", name) not in built(folder):
            continue
        # A flow that is process 1 ignores SIGTERM until it is handled.
        assert template["spec"]["shareProcessNamespace"] is True
        for each in containers(template):
            mounts = [
                Path(m["mountPath"]) for m in each["volumeMounts"] if not m.get("readOnly")
            ]
            env = environment(folder, each)
            for where in ("BYTEWAX_RECOVERY_DIRECTORY", "BYTEWAX_DATAFLOW_API_CACHE_PATH"):
                assert any(Path(env[where]).is_relative_to(mount) for mount in mounts), where


@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_settings_are_ones_that_flows_accept(folder: str) -> None:
    for name, template in pods(folder).items():
        for each in containers(template):
            if "args" in each:
                loaded = settings.load(environment(folder, each))
                assert loaded.kafka["sasl.password"] == "change-me"
                sends = "alerts" not in str(each["args"]) and folder == "overlays/dev"
                if "payments" in name:
                    assert loaded.send_alerts is sends


def test_the_enforce_flow_has_its_topics_files_where_it_looks(tmp_path: Path) -> None:
    folder = "flows/enforce"
    (name,) = [n for kind, n in built(folder) if kind == "StatefulSet"]
    template = pods(folder)[name]
    (flow,) = containers(template)
    assert flow["args"] == ["flows.enforce"]
    (mount,) = [m for m in flow["volumeMounts"] if m["name"] == "enforced"]
    (volume,) = [v for v in template["spec"]["volumes"] if v["name"] == "enforced"]
    for source in volume["projected"]["sources"]:
        texts = built(folder)["ConfigMap", source["configMap"]["name"]]["data"]
        for item in source["configMap"]["items"]:
            path = tmp_path / item["path"]
            path.parent.mkdir(exist_ok=True)
            path.write_text(texts[item["key"]])
    environ = environment(folder, flow)
    assert environ["MILLSTREAM_ENFORCE_FOLDER"] == mount["mountPath"]
    loaded = enforce_load(environ | {"MILLSTREAM_ENFORCE_FOLDER": str(tmp_path)})
    assert [each.topic for each in loaded.topics] == ["shop.orders"]


@pytest.mark.parametrize("flow", ["alerts", "enforce"])
def test_each_slices_pod_has_a_slice_and_a_volume_of_its_own(flow: str, tmp_path: Path) -> None:
    made = {
        "kind": "Kustomization",
        "resources": [os.path.relpath(K8S / "flows" / flow, tmp_path)],
        "components": [os.path.relpath(K8S / "components" / "slices", tmp_path)],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(made))
    folder = str(tmp_path)
    stateful = built(folder)["StatefulSet", f"millstream-{flow}"]
    validator = pytest.importorskip("kubernetes_validate")
    assert validator.validate(stateful, KUBERNETES, strict=True) == KUBERNETES
    spec = stateful["spec"]
    assert spec["podManagementPolicy"] == "Parallel"
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    (process,) = containers(spec["template"])
    shares = [
        settings.load(environment(folder, process, index)).share
        for index in range(spec["replicas"])
    ]
    assert shares == [Slice(0, 3), Slice(1, 3), Slice(2, 3)]


def test_files_that_the_settings_name_are_where_they_are_mounted() -> None:
    text = (K8S / "base" / "settings.env").read_text()
    commented = re.findall(r"^# MILLSTREAM_\w+=(/\S+)$", text, re.MULTILINE)
    assert len(commented) == 5
    (flow,) = containers(pods("flows/payments")["millstream-payments"])
    mounts = [
        Path(mount["mountPath"]) for mount in flow["volumeMounts"] if mount.get("readOnly")
    ]
    assert all(Path(path).parent in mounts for path in commented)


def test_prometheus_looks_at_every_flow_and_process() -> None:
    applied = built("overlays/production")
    monitor = applied["ServiceMonitor", "millstream"]["spec"]
    (chosen,) = monitor["selector"]["matchExpressions"]
    services = {doc["metadata"]["labels"][chosen["key"]]: doc for (kind, _), doc in
                applied.items() if kind == "Service"}  # fmt: skip
    assert services.keys() == set(chosen["values"])
    ports = {port["name"] for doc in services.values() for port in doc["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} == ports
    assert ("PrometheusRule", "millstream") in applied
    dashboards = applied["ConfigMap", "millstream-dashboards"]
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert all(json.loads(text)["panels"] for text in dashboards["data"].values())
    files = {path.name for path in (K8S / "watching" / "dashboards").iterdir()}
    assert dashboards["data"].keys() == files
