"""Maintenance: by the same root and files as the flows, and all that a table may need."""

import json
import shutil
from pathlib import Path

from flows.streams import upkeep_of, writers
from ops import cli
from tests.k8s.built import K8S, built, containers, environment, pods

PRODUCTION = "overlays/production"
ROOT = "MILLSTREAM_DELTA_ROOT"


def roots(folder: str) -> dict[str, str]:
    """Return where each container has its tables, by its pod's and its own name."""
    return {
        f"{name}/{each['name']}": environment(folder, each)[ROOT]
        for name, template in pods(folder).items()
        for each in containers(template)
    }


def with_overlay(folder: Path) -> Path:
    """Return an overlay of production with a root of its own, told as that of dev is."""
    overlay = folder / "overlays" / "ours"
    overlay.mkdir()
    made = {
        "kind": "Kustomization",
        "resources": ["../production"],
        "patches": [
            {
                "target": {"kind": "ConfigMap", "name": "millstream-settings-.*"},
                "patch": json.dumps(
                    [{"op": "replace", "path": f"/data/{ROOT}", "value": "s3://ours/tables"}]
                ),
            }
        ],
    }
    (overlay / "kustomization.yaml").write_text(json.dumps(made))
    return overlay


def test_a_root_is_told_once_and_is_that_of_flows_and_of_maintenance(tmp_path: Path) -> None:
    assert len(roots(PRODUCTION)) > 10
    assert len(set(roots(PRODUCTION).values())) == 1
    manifests = Path(shutil.copytree(K8S, tmp_path / "k8s"))
    file = manifests / "components" / "settings" / "settings.env"
    told = next(line for line in file.read_text().splitlines() if line.startswith(ROOT))
    file.write_text(file.read_text().replace(told, f"{ROOT}=s3://another/tables"))
    every = [path for path in manifests.rglob("*") if path.is_file()]
    value = told.partition("=")[2]
    assert not [path for path in every if value in path.read_text()]
    assert set(roots(str(manifests / PRODUCTION)).values()) == {"s3://another/tables"}
    # As does an overlay, for all of it at once.
    assert set(roots(str(with_overlay(manifests))).values()) == {"s3://ours/tables"}


def test_everything_that_tables_need_is_done_by_a_command_that_there_is() -> None:
    done = {}
    for name, template in pods(PRODUCTION).items():
        if ("CronJob", name) in built(PRODUCTION):
            for each in containers(template):
                program, *arguments = each["command"]
                assert program == "millstream"
                args = cli.parser(arguments[0]).parse_args(arguments)
                # All tables that are there.
                assert args.tables == []
                done[arguments[1]] = name
    assert list(done) == ["compact", "checkpoint", "retain", "vacuum", "zorder"]
    assert any(upkeep_of(name).z_order for name in writers())
    # It writes whole days anew, so it is a job of its own, less often.
    hourly = built(PRODUCTION)["CronJob", done["compact"]]["spec"]["schedule"]
    weekly = built(PRODUCTION)["CronJob", done["zorder"]]["spec"]["schedule"]
    assert hourly.split()[1:] == ["*"] * 4
    assert weekly.split()[2:] == ["*", "*", "0"]
    assert hourly.split()[0] != weekly.split()[0]
