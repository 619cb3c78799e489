"""Pods of the overlays: closed, without what they need not, and where they should be."""

from pathlib import Path
from typing import Any

import pytest

from tests.k8s.built import OVERLAYS, built, containers, environment, pods


@pytest.mark.parametrize("folder", OVERLAYS)
def test_every_pod_is_behind_a_policy_and_a_flow_may_be_drained(folder: str) -> None:
    """Nothing comes in but to the metrics' ports, so not to where processes link either."""
    for name, template in pods(folder).items():
        labels = template["metadata"]["labels"]

        def of_it(doc: dict[str, Any], key: str, labels: dict[str, str] = labels) -> bool:
            return bool(doc["spec"][key].get("matchLabels", {}).items() <= labels.items())

        policies = [
            doc["spec"]
            for (kind, _), doc in built(folder).items()
            if kind == "NetworkPolicy" and of_it(doc, "podSelector")
        ]
        # That which is for every pod lets nothing through, so the other one says what is.
        (closed,) = [each for each in policies if each["podSelector"] == {}]
        assert set(closed["policyTypes"]) == {"Ingress", "Egress"}
        assert closed.keys() == {"podSelector", "policyTypes"}
        (policy,) = [each for each in policies if each["podSelector"] != {}]
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


def test_production_spreads_its_flows_and_puts_them_before_what_can_wait() -> None:
    applied = built("overlays/production")
    classes = {name: doc for (kind, name), doc in applied.items() if kind == "PriorityClass"}
    flows = tables = 0
    for name, template in pods("overlays/production").items():
        spec, labels = template["spec"], template["metadata"]["labels"]
        value = classes[spec["priorityClassName"]]["value"]
        if ("StatefulSet", name) in applied:
            flows += 1
            assert value == max(each["value"] for each in classes.values())
            (spread,) = spec["topologySpreadConstraints"]
            assert spread["topologyKey"] == "kubernetes.io/hostname"
            assert spread["maxSkew"] == 1
            # A cluster of one node runs them all the same.
            assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
            # Of all flows together: each is one pod.
            assert spread["labelSelector"]["matchLabels"].items() <= labels.items()
            assert "app.kubernetes.io/name" not in spread["labelSelector"]["matchLabels"]
        else:
            tables += 1
            assert value < max(each["value"] for each in classes.values())
            assert classes[spec["priorityClassName"]]["preemptionPolicy"] == "Never"
    assert (flows, tables) == (4, 2)


@pytest.mark.parametrize("folder", OVERLAYS)
def test_secrets_are_files_and_in_nobodys_environment(folder: str) -> None:
    for template in pods(folder).values():
        for each in containers(template):
            assert not any("secretKeyRef" in e.get("valueFrom", {}) for e in each["env"])
            # The clouds' clients take the store's from the environment alone.
            named = {e["secretRef"]["name"] for e in each["envFrom"] if "secretRef" in e}
            assert named <= {"millstream-storage"}
        for volume in template["spec"]["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440
