import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from deltalake import DeltaTable

from flows import settings
from ops.local import local_stack
from ops.processes import free_port
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
KUBERNETES = "1.33"


def documents(name: str) -> list[dict]:
    return [doc for doc in yaml.safe_load_all((K8S / name).read_text()) if doc]


def resources() -> dict[tuple[str, str], dict]:
    """Return what the kustomization applies, by kind and name."""
    (kustomization,) = documents("kustomization.yaml")
    found = [doc for name in kustomization["resources"] for doc in documents(name)]
    return {(doc["kind"], doc["metadata"]["name"]): doc for doc in found}


def pod() -> dict:
    return resources()["StatefulSet", "millstream-payments"]["spec"]["template"]["spec"]


def container() -> dict:
    (only,) = pod()["containers"]
    return only


def final_stage() -> list[str]:
    """Return the instructions of the Dockerfile's last stage."""
    text = (K8S / "Dockerfile").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    last = max(i for i, line in enumerate(lines) if line.startswith("FROM "))
    return lines[last:]


def instruction(name: str) -> str:
    (line,) = [line for line in final_stage() if line.startswith(f"{name} ")]
    return line.removeprefix(f"{name} ")


def environment(secrets: dict[str, str]) -> dict[str, str]:
    """Return the container's environment, its secrets by name of the variable."""
    configured = resources()["ConfigMap", "millstream-payments-settings"]["data"]
    literal = {
        entry["name"]: entry["value"] for entry in container()["env"] if "value" in entry
    }
    referred = {entry["name"] for entry in container()["env"] if "valueFrom" in entry}
    assert referred == set(secrets)
    return {**configured, **literal, **secrets}


def secret_variables() -> dict[str, str]:
    (example,) = documents("secret.example.yaml")
    return {
        entry["name"]: example["stringData"].get(entry["valueFrom"]["secretKeyRef"]["key"], "")
        for entry in container()["env"]
        if "valueFrom" in entry
    }


def test_manifests_are_valid_kubernetes():
    validator = pytest.importorskip("kubernetes_validate")
    for doc in [*resources().values(), *documents("secret.example.yaml")]:
        assert validator.validate(doc, KUBERNETES, strict=True) == KUBERNETES


def test_every_manifest_is_in_the_kustomization_once():
    (kustomization,) = documents("kustomization.yaml")
    listed = kustomization["resources"]
    assert len(listed) == len(set(listed))
    others = {"kustomization.yaml", "secret.example.yaml"}
    assert {path.name for path in K8S.glob("*.yaml")} - others == set(listed)
    assert {image["name"] for image in kustomization["images"]} == {container()["image"]}


def test_references_lead_somewhere():
    applied = resources()
    stateful = applied["StatefulSet", "millstream-payments"]["spec"]
    service = applied["Service", stateful["serviceName"]]["spec"]
    labels = stateful["template"]["metadata"]["labels"]
    assert service["clusterIP"] == "None"
    assert service["selector"].items() <= labels.items()
    assert stateful["selector"]["matchLabels"].items() <= labels.items()

    (example,) = documents("secret.example.yaml")
    for entry in container()["env"]:
        if "valueFrom" in entry:
            reference = entry["valueFrom"]["secretKeyRef"]
            assert reference["name"] == example["metadata"]["name"]
            assert reference.get("optional") or reference["key"] in example["stringData"]
    for source in container()["envFrom"]:
        if "configMapRef" in source:
            assert ("ConfigMap", source["configMapRef"]["name"]) in applied
        else:
            assert source["secretRef"]["optional"]

    ports = {port["name"] for port in container()["ports"]}
    assert {port["targetPort"] for port in service["ports"]} <= ports
    volumes = {volume["name"] for volume in pod()["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in stateful["volumeClaimTemplates"]}
    assert {mount["name"] for mount in container()["volumeMounts"]} == volumes


def test_the_pod_can_write_only_where_a_volume_is():
    mounts = [Path(mount["mountPath"]) for mount in container()["volumeMounts"]]
    env = environment(secret_variables())
    for name in ("BYTEWAX_RECOVERY_DIRECTORY", "BYTEWAX_DATAFLOW_API_CACHE_PATH"):
        assert any(Path(env[name]).is_relative_to(mount) for mount in mounts), name
    security = container()["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security["allowPrivilegeEscalation"]
    assert pod()["securityContext"]["runAsNonRoot"]


def test_other_services_cannot_become_settings():
    assert pod()["enableServiceLinks"] is False


def test_the_flow_is_not_process_1_which_ignores_sigterm_until_it_is_handled():
    assert pod()["shareProcessNamespace"] is True


def test_the_image_is_pinned_and_runs_without_root():
    assert re.fullmatch(r"python:3\.12\.\d+-slim-[a-z]+", instruction("FROM"))
    user, group = instruction("USER").split(":")
    security = pod()["securityContext"]
    assert (int(user), int(group)) == (security["runAsUser"], security["runAsGroup"])
    assert int(user) > 0
    copied = [line for line in final_stage() if line.startswith(("COPY", "ADD"))]
    assert copied == ["COPY --from=build /opt/venv /opt/venv"]
    assert json.loads(instruction("CMD")) == container()["args"]


def test_the_settings_are_ones_the_flow_accepts():
    environ = environment(secret_variables())
    loaded = settings.load(environ)
    assert loaded.kafka["sasl.password"] == "change-me"
    # What is left out has a default that suits every cluster.
    left_out = {
        "streams", "stop_at_end", "close_windows_at_end", "future_bound", "rules", "report_every",
        "schema_registry_token_file",
    }  # fmt: skip
    # Commented, as the files are there only with the secret.
    commented = set(re.findall(r"# MILLSTREAM_(\w+): /", (K8S / "settings.yaml").read_text()))
    left_out |= {name.lower() for name in commented} | {"schema_registry_key_password"}
    named = {name.removeprefix("MILLSTREAM_").lower() for name in environ}
    of_payments = {n for n in type(loaded).model_fields if not n.startswith("chargebacks_")}
    assert of_payments - named <= left_out | {"kafka"}


def test_the_manifests_start_the_flow(tmp_path):
    entrypoint = json.loads(instruction("ENTRYPOINT"))
    command = [*entrypoint, *container()["args"]]
    assert command[0] == "python"
    simulation = simulate(Params(customers=200, terminals=2_000, payments=2_000, partitions=2))
    with local_stack() as stack:
        create_topic(stack.bootstrap, "payments", 2)
        produce(simulation, stack.bootstrap, "payments")
        env = environment(
            {
                "MILLSTREAM_KAFKA_SASL_PASSWORD": "",
                "MILLSTREAM_REDIS_URL": stack.redis_url,
                "MILLSTREAM_SCHEMA_REGISTRY_USER": "",
                "MILLSTREAM_SCHEMA_REGISTRY_TOKEN": "",
            }
        )
        # The local broker knows neither TLS nor passwords; nor is there a registry.
        env = {k: v for k, v in env.items() if "SASL" not in k and "SECURITY_PROTOCOL" not in k}
        env |= stack.env()
        env |= {
            "MILLSTREAM_DELTA_ROOT": str(tmp_path / "tables"),
            "MILLSTREAM_SCHEMA_REGISTRY": "",
            "MILLSTREAM_STOP_AT_END": "true",
            "BYTEWAX_RECOVERY_DIRECTORY": str(tmp_path / "recovery"),
            "BYTEWAX_DATAFLOW_API_CACHE_PATH": str(tmp_path),
            "BYTEWAX_DATAFLOW_API_PORT": str(free_port()),
        }
        # As in the image: an empty working directory, our packages on the path.
        (tmp_path / "empty").mkdir()
        run = subprocess.run(
            [sys.executable, *command[1:]],
            cwd=tmp_path / "empty",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
            capture_output=True,
            text=True,
            timeout=90,
        )
    assert run.returncode == 0, run.stderr
    bronze = DeltaTable(str(tmp_path / "tables" / "bronze" / "payments"))
    assert bronze.to_pyarrow_dataset().count_rows() == simulation.records.height
