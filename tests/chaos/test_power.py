"""Power loss: what an epoch wrote is on the disk before the recovery store says so."""

import re
import shutil

import pytest

from tests.chaos.flow import Shape
from tests.chaos.world import World, world
from tests.servers import kafka, redis

_STRACE = shutil.which("strace")
_MISSING = kafka.missing() or redis.missing() or (None if _STRACE else "no strace")
pytestmark = pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING))

_CALL = re.compile(r"^(\d+) +(\w+)\((.*)$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>")
_PATH = re.compile(r"<(/[^>]*)>")


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> World:
    with world(tmp_path_factory.mktemp("power"), seed=3, records=300) as running:
        yield running


def calls(trace: str) -> list[tuple[str, str]]:
    """Return (what, path) in order: "begins" and "synced" for a sync, "made" for a new name."""
    found, waiting = [], {}
    for line in trace.splitlines():
        if (resumed := _RESUMED.match(line)) and resumed[1] in waiting:
            found.append(("synced", waiting.pop(resumed[1])))
            continue
        call = _CALL.match(line)
        if call is None:
            continue
        if call[2] in ("fsync", "fdatasync"):
            path = _PATH.search(call[3])[1]
            found.append(("begins", path))
            if "unfinished" in line:
                waiting[call[1]] = path
            else:
                found.append(("synced", path))
        elif names := re.findall(r'"([^"]+)"', call[3]):
            found.append(("made", names[-1]))
    return found


@pytest.mark.slow
def test_files_and_folders_are_synced_before_the_recovery_store(here, tmp_path):
    flow = here.flow("power")
    trace = tmp_path / "trace"
    watched = "fsync,fdatasync,link,linkat,rename,renameat,renameat2"
    flow.start(
        Shape(batch=50, epoch=0.2),
        (_STRACE, "-f", "-y", "-s", "4096", "-e", f"trace={watched}", "-o", str(trace)),
        pace="0.02",
    )
    assert flow.wait(120) == [0], flow.said()
    seen = calls(trace.read_text(errors="replace"))
    tables = flow.folder / "tables"
    commits = sorted(str(path) for path in tables.rglob("_delta_log/*.json"))
    assert len(commits) > 20
    stores = [
        i for i, (what, path) in enumerate(seen) if what == "begins" and ".sqlite3" in path
    ]
    assert len(stores) > 2
    for commit in commits:
        made = next(
            i for i, (what, path) in enumerate(seen) if what == "made" and path == commit
        )
        after = next((i for i in stores if i > made), len(seen))
        synced = {path for what, path in seen[made:after] if what == "synced"}
        assert commit in synced
        assert commit.rpartition("/")[0] in synced, "the log's folder"
    files = {str(path) for path in tables.rglob("*.parquet") if "_delta_log" not in path.parts}
    synced = {path for what, path in seen if what == "synced"}
    assert files <= synced
    assert {path.rpartition("/")[0] for path in files} <= synced
