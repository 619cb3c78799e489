"""What kustomize makes of the manifests."""

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from flows.secret_files import SUFFIX
from tests.tools import tool

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
OVERLAYS = ("overlays/dev", "overlays/production")


@cache
def built(folder: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the resources that are applied with a folder, by kind and name."""
    command = [tool("kustomize"), "build", K8S / folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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


def with_slices(flow: str, folder: Path) -> str:
    """Return a folder of a flow's manifests with slices, made in an empty one."""
    made = {
        "kind": "Kustomization",
        "resources": [os.path.relpath(K8S / "flows" / flow, folder)],
        "components": [os.path.relpath(K8S / "components" / "slices", folder)],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(made))
    return str(folder)


def environment(folder: str, container: dict[str, Any], index: int = 0) -> dict[str, str]:
    """Return a container's environment in a pod of an index, that of the image included."""
    found = image_environment() if "args" in container else {}
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
            source = entry["valueFrom"]["configMapKeyRef"]
            data = built(folder)["ConfigMap", source["name"]]["data"]
            found[entry["name"]] = data[source["key"]]
    return found


def mounted(
    template: dict[str, Any],
    container: dict[str, Any],
    environ: dict[str, str],
    there: Path,
    values: dict[str, str] | None = None,
) -> dict[str, str]:
    """Return a container's environment with the files of its secret under `there`.

    `values` are the secret's keys, as in the example unless stated.
    """
    (volume,) = [
        volume["name"] for volume in template["spec"]["volumes"]
        if volume.get("secret", {}).get("secretName") == "millstream-secrets"
    ]  # fmt: skip
    (mount,) = [m["mountPath"] for m in container["volumeMounts"] if m["name"] == volume]
    there.mkdir(exist_ok=True)
    for key, value in (secrets() | (values or {})).items():
        (there / key).write_text(f"{value}\n", "utf-8")
    return {
        name: value.replace(mount, str(there), 1) if name.endswith(SUFFIX) else value
        for name, value in environ.items()
    }


def enforced(folder: str, template: dict[str, Any], there: Path) -> str | None:
    """Put the files of enforced topics that a pod has into a folder; return it if there are any."""
    volumes = [each for each in template["spec"]["volumes"] if each["name"] == "enforced"]
    for source in (each for volume in volumes for each in volume["projected"]["sources"]):
        texts = built(folder)["ConfigMap", source["configMap"]["name"]]["data"]
        for item in source["configMap"]["items"]:
            path = there / item["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[item["key"]], "utf-8")
    return str(there) if volumes else None


def image_environment() -> dict[str, str]:
    """Return the variables of Bytewax that the image sets."""
    pairs = re.findall(r"(BYTEWAX_\w+)=(\S+)", " ".join(stage()))
    return dict(pairs)


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
