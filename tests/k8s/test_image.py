"""The image: pinned, and its Dockerfile's steps run in a clean folder, as the build does."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.k8s.built import K8S, ROOT, entrypoint, instruction, pods, stage

PYTHON = r"python:3\.\d+\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}"


def allowed() -> list[str]:
    """Return what the build's context has."""
    text = (K8S / "Dockerfile.dockerignore").read_text()
    assert "*" in text.splitlines()
    return re.findall(r"^!(\S+)$", text, re.MULTILINE)


def test_the_image_is_pinned_and_runs_without_root() -> None:
    outside = [
        line for line in re.findall(r"^FROM (.+)$", (K8S / "Dockerfile").read_text(), re.MULTILINE)
        if not line.startswith("base")
    ]  # fmt: skip
    assert len(outside) == 1
    assert re.fullmatch(f"{PYTHON} AS base", outside[0])
    assert instruction("FROM") == "base"
    user, group = map(int, instruction("USER").split(":"))
    assert user > 0
    for template in pods("overlays/production").values():
        security = template["spec"]["securityContext"]
        assert (user, group) == (security["runAsUser"], security["runAsGroup"])
    copied = [line for line in stage() if line.startswith(("COPY", "ADD"))]
    assert copied == ["COPY --from=build /opt/venv /opt/venv"]
    assert all((ROOT / name).exists() for name in allowed())


def test_what_is_pinned_by_digest_is_renewed() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    looked_at = {each["package-ecosystem"]: each["directory"] for each in updates}
    assert looked_at == {"docker": f"/{K8S.name}", "github-actions": "/"}


def test_nothing_that_the_image_runs_needs_a_shell() -> None:
    for name in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
        command = json.loads(instruction(name).rpartition("CMD ")[2])
        assert isinstance(command, list), name
        assert command[0] not in ("sh", "bash", "/bin/sh"), name


def built(root: Path) -> dict[str, str]:
    """Do what the build stage says in a folder, its / ; return the environment of what runs."""

    def here(text: str) -> str:
        return re.sub(r"(?<![\w./-])/(?=opt/|build\b)", f"{root}/", text)

    context, where = root / "context", root
    for name in allowed():
        into = context / name
        into.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, into, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, into)
    environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(root)}
    for line in stage("build")[1:]:
        what, _, rest = line.partition(" ")
        rest = here(rest)
        if what == "WORKDIR":
            where = Path(rest)
            where.mkdir(parents=True)
        elif what == "COPY":
            *sources, into_ = shlex.split(rest)
            for source in sources:
                target = where / into_ if into_ != "./" else where / source
                target.parent.mkdir(parents=True, exist_ok=True)
                if (context / source).is_dir():
                    shutil.copytree(context / source, target)
                else:
                    shutil.copy(context / source, target)
        else:
            assert what == "RUN", line
            done = subprocess.run(
                ["sh", "-c", rest], cwd=where, env=environ, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{rest}\n{done.stdout}\n{done.stderr}"
    return {"PATH": f"{root}/opt/venv/bin", "HOME": str(root)}


def locked() -> set[str]:
    """Return the names of what the image has besides Millstream."""
    text = (ROOT / "locks" / "runtime.txt").read_text()
    return set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))


@pytest.mark.slow
def test_the_steps_of_the_build_in_a_clean_folder(tmp_path: Path) -> None:
    environ = built(tmp_path)
    empty = tmp_path / "app"
    empty.mkdir()

    def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
        # Of the image's own folder, as PATH is searched before `env` holds.
        program = str(tmp_path / "opt" / "venv" / "bin" / command[0])
        return subprocess.run(
            [program, *command[1:]], cwd=empty, env=environ, capture_output=True, text=True
        )

    flow = run([*entrypoint(), *json.loads(instruction("CMD"))])
    assert flow.returncode == 2, flow.stderr
    assert "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS" in flow.stderr
    health = run(json.loads(instruction("HEALTHCHECK").partition("CMD ")[2]))
    assert health.returncode == 1, "nothing listens"
    for template in pods("overlays/production").values():
        for each in (template["spec"].get("initContainers") or []) + template["spec"][
            "containers"
        ]:
            if "command" in each:
                assert run([*each["command"], "--help"]).returncode == 0

    bom = json.loads((tmp_path / "opt" / "venv" / "sbom.cdx.json").read_text())
    assert bom["bomFormat"] == "CycloneDX"
    components = {each["name"].lower().replace("_", "-"): each for each in bom["components"]}
    # Of what is locked, some is for other systems alone.
    assert set(components) - {"millstream", "pip", "setuptools"} <= locked()
    assert {"bytewax", "confluent-kafka", "deltalake", "millstream"} <= set(components)
    without = {name for name, each in components.items() if not each.get("licenses")}
    assert without <= {"bytewax", "pyruhvro"}, "whose packages name none"
