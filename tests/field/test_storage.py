"""Storage that cannot be written to: told in one line, at the start."""

import resource

from tests.field.topic import Field, payments
from tests.running import Flow
from tests.servers import s3


def refusal(field: Field, root: str) -> str:
    """Run the flow, which must refuse in one line, and return that."""
    flow = field.flow(DELTA_ROOT=root, START_TIMEOUT="20s")
    assert flow.wait() == 1, flow.said()
    assert "Traceback" not in flow.said()
    *_, line = (each for each in flow.said().splitlines() if each.startswith("millstream: "))
    return line


def test_a_root_in_which_no_files_can_be_made_is_told_at_the_start(local: Field) -> None:
    local.create()
    file = local.folder / "a file"
    file.touch()
    for root, why in [
        (str(file), "File exists"),
        (f"{file}/tables", "Not a directory"),
        # Not even root may make folders here.
        ("/proc/tables", "No such file or directory"),
    ]:
        said = refusal(local, root)
        assert f"cannot write tables under MILLSTREAM_DELTA_ROOT {root}: {why}. Make" in said


def test_a_full_disk_is_told_at_the_start(local: Field) -> None:
    local.create()
    # A recovery store would be told of first.
    flow = Flow("payments", local.settings, local.folder / "state", recovery=False)
    # The kernel's limit on files stands for the disk's.
    resource.prlimit(flow.process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    assert flow.wait() == 1, flow.said()
    assert "File too large. Make it a folder with space" in flow.said()
    assert "Traceback" not in flow.said()


def test_a_bucket_that_is_not_there_is_told_at_the_start(local: Field) -> None:
    s3.needed()
    local.create()
    local.send(*payments(0, 9))
    with s3.s3(local.folder) as port:
        local.settings |= s3.storage_env(port)
        said = refusal(local, "s3://nobody-made-it/tables")
    assert "s3://nobody-made-it/tables/" in said
    assert "Is the bucket there" in said
    assert "\x1b" not in said
