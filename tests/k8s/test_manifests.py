"""Manifests as kustomize builds them: valid, closed, and with what flows need."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from flows import settings
from flows.slices import Slice
from ops import cli, health
from tests.k8s.built import (
    K8S,
    OVERLAYS,
    built,
    containers,
    environment,
    instruction,
    mounted,
    pods,
    secrets,
    with_slices,
)
from tests.tools import tool

KUBERNETES = "1.33"
FOLDERS = sorted(
    str(path.parent.relative_to(K8S))
    for path in K8S.rglob("kustomization.yaml")
    if "components" not in path.parts
)
FLOWS = {"flows.payments", "flows.alerts", "flows.chargebacks", "flows.enforce"}
SLICED = ("sliced alerts", "sliced enforce")


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder of manifests, or one that is made: a flow with the component of slices."""
    kind, _, flow = str(request.param).partition(" ")
    return with_slices(flow, tmp_path) if flow else kind


@pytest.mark.parametrize("folder", [*FOLDERS, *SLICED], indirect=True)
def test_what_is_built_is_valid_kubernetes(folder: str) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    for (kind, _), doc in built(folder).items():
        # Prometheus' operator has kinds of its own.
        if not doc["apiVersion"].startswith("monitoring.coreos.com/"):
            assert validator.validate(doc, KUBERNETES, strict=True) == KUBERNETES, kind


@pytest.mark.parametrize("folder", [*FOLDERS, *SLICED], indirect=True)
def test_a_policy_checker_finds_nothing_but_what_is_meant(folder: str) -> None:
    command = [
        tool("kube-score"), "score", "-", "--output-format", "ci",
        "--kubernetes-version", f"v{KUBERNETES}",
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
        "prometheus.yaml",
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
                    reference = entry["valueFrom"]["configMapKeyRef"]
                    assert reference["key"] in applied["ConfigMap", reference["name"]]["data"]
        if spec.get("priorityClassName"):
            assert ("PriorityClass", spec["priorityClassName"]) in applied


def test_links_between_processes_stay_in_their_pod() -> None:
    template = pods("overlays/production")["millstream-payments"]
    processes = containers(template)
    told = [environment("overlays/production", each) for each in processes]
    assert [each["BYTEWAX_PROCESS_ID"] for each in told] == ["0", "1", "2"]
    (addresses,) = {each["BYTEWAX_ADDRESSES"] for each in told}
    assert all(each.startswith("127.0.0.1:") for each in addresses.split(";"))
    assert len(set(addresses.split(";"))) == len(processes)
    ports = [each["BYTEWAX_DATAFLOW_API_PORT"] for each in told]
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
def test_the_settings_are_ones_that_flows_accept(folder: str, tmp_path: Path) -> None:
    for name, template in pods(folder).items():
        for each in containers(template):
            if "args" in each and each["args"] != ["flows.enforce"]:
                told = mounted(template, each, environment(folder, each), tmp_path)
                loaded = settings.load(told)
                assert loaded.kafka["sasl.password"] == "change-me"
                assert loaded.redis_url.get_secret_value() == secrets()["redis-url"]
                sends = "alerts" not in str(each["args"]) and folder == "overlays/dev"
                if "payments" in name:
                    assert loaded.send_alerts is sends


@pytest.mark.parametrize("flow", ["alerts", "enforce"])
def test_each_slices_pod_has_a_slice_and_a_volume_of_its_own(flow: str, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    folder = with_slices(flow, tmp_path / "made")
    spec = built(folder)["StatefulSet", f"millstream-{flow}"]["spec"]
    assert spec["podManagementPolicy"] == "Parallel"
    (apart,) = spec["template"]["spec"]["affinity"]["podAntiAffinity"].values()
    term = apart[0]["podAffinityTerm"]
    labels = spec["template"]["metadata"]["labels"]
    assert term["labelSelector"]["matchLabels"].items() <= labels.items()
    # Of this flow's slices, whichever it is.
    assert [labels[key] for key in term["matchLabelKeys"]] == [f"millstream-{flow}"]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    (process,) = containers(spec["template"])
    # Of another flow, which needs Redis: the share is read alike.
    redis = {"MILLSTREAM_REDIS_URL": "redis://localhost"} if flow == "enforce" else {}
    shares = [
        settings.load(
            mounted(
                spec["template"], process, environment(folder, process, index), tmp_path / "at"
            )
            | redis
        ).share
        for index in range(spec["replicas"])
    ]
    assert shares == [Slice(0, 3), Slice(1, 3), Slice(2, 3)]


def test_files_that_the_settings_name_are_where_they_are_mounted() -> None:
    text = (K8S / "components" / "settings" / "settings.env").read_text()
    named = re.findall(r"^(?:# )?MILLSTREAM_\w+=(/\S+)$", text, re.MULTILINE)
    assert len(named) == 9
    of_secrets = {Path(path).name for path in named if "/secrets/" in path}
    assert of_secrets == secrets().keys()
    (flow,) = containers(pods("flows/payments")["millstream-payments"])
    mounts = [
        Path(mount["mountPath"]) for mount in flow["volumeMounts"] if mount.get("readOnly")
    ]
    assert all(Path(path).parent in mounts for path in named)


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
