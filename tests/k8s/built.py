"""What kustomize makes of the manifests."""

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"


@cache
def built(folder: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the resources that are applied with a folder, by kind and name."""
    kustomize = shutil.which("kustomize")
    if kustomize is None:
        pytest.skip("no kustomize on the PATH: .ci/tools makes it where Go is")
    done = subprocess.run(
        [kustomize, "build", K8S / folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [doc for doc in yaml.safe_load_all(done.stdout) if doc]
    by_name = {(doc["kind"], doc["metadata"]["name"]): doc for doc in found}
    assert len(by_name) == len(found)
    return by_name


def pods(folder: str) -> dict[str, dict[str, Any]]:
    """Return the templates of what runs, by the name of the resource."""
    found = {}
    for (kind, name), doc in built(folder).items():
        if kind == "StatefulSet":
            found[name] = doc["spec"]["template"]
        elif kind == "CronJob":
            found[name] = doc["spec"]["jobTemplate"]["spec"]["template"]
    return found


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all containers of a pod."""
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def secrets() -> dict[str, str]:
    """Return the example's secrets by key."""
    example = yaml.safe_load((K8S / "secret.example.yaml").read_text())
    return dict(example["stringData"])


def environment(folder: str, container: dict[str, Any], index: int = 0) -> dict[str, str]:
    """Return a container's environment in a pod of an index, its secrets as in the example."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= built(folder)["ConfigMap", source["configMapRef"]["name"]]["data"]
        else:
            assert source["secretRef"]["optional"]
    for entry in container["env"]:
        if "value" in entry:
            # As the kubelet does, of what is before it.
            text = re.sub(r"\$\((\w+)\)", lambda name: found[name[1]], entry["value"])
            found[entry["name"]] = text
        elif "fieldRef" in entry["valueFrom"]:
            path = entry["valueFrom"]["fieldRef"]["fieldPath"]
            assert path == "metadata.labels['apps.kubernetes.io/pod-index']"
            found[entry["name"]] = str(index)
        else:
            found[entry["name"]] = secrets()[entry["valueFrom"]["secretKeyRef"]["key"]]
    return found


def stage(name: str | None = None) -> list[str]:
    """Return the instructions of a stage of the Dockerfile, by its name; of the last without."""
    text = (K8S / "Dockerfile").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    starts = [i for i, line in enumerate(lines) if line.startswith("FROM ")]
    if name is None:
        return lines[starts[-1] :]
    (start,) = [i for i in starts if lines[i].endswith(f" AS {name}")]
    return lines[start : min([i for i in starts if i > start], default=len(lines))]


def instruction(name: str) -> str:
    """Return the arguments of an instruction of the Dockerfile's last stage."""
    (line,) = [line for line in stage() if line.startswith(f"{name} ")]
    return line.removeprefix(f"{name} ")


def entrypoint() -> list[str]:
    """Return what the image runs before a container's arguments."""
    return list(json.loads(instruction("ENTRYPOINT")))
