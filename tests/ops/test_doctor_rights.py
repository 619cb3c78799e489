"""Rights on a bucket: the doctor tells which one is lacking, and flows need no more than theirs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from ops.local import Stack
from tests.field.topic import Field, payments
from tests.servers import s3

ASK = """
from functools import partial
from ops.doctor.checks import Question, answers
from ops.doctor.machine import storage
(found,) = answers([Question("storage", partial(storage, "s3://tables/root"))])
print(found.state, found.said, found.to_do)
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Proxy]:
    s3.needed()
    with s3.s3(tmp_path_factory.mktemp("s3")) as port:
        s3.create_bucket(port, "tables")
        yield s3.Proxy(port)


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        ("get", "wrong s3://tables/root: these credentials may not read there"),
        ("put", "wrong s3://tables/root: these credentials may not write there"),
        ("list", "wrong s3://tables/root: these credentials may not list there"),
        ("delete", "note s3://tables/root can be written, listed and read, which is all that"),
    ],
)
def test_a_right_that_is_lacking_is_named(bucket: s3.Proxy, lacks: str, said: str) -> None:
    bucket.lacks = frozenset({lacks})
    # By another process: deltalake's files hold this one's threads up, the proxy's among them.
    environ = os.environ | s3.storage_env(bucket.port)
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith(said), done.stdout + done.stderr
    if lacks == "delete":
        assert "give that right to whoever runs millstream tables" in done.stdout
        assert "millstream-doctor-" in done.stdout


@pytest.mark.slow
def test_a_flow_deletes_nothing(bucket: s3.Proxy, stack: Stack, tmp_path: Path) -> None:
    local = Field(stack, stack.bootstrap, tmp_path)
    bucket.lacks, bucket.done["denied"] = frozenset({"delete"}), 0
    root = f"s3://tables/{local.topic}"
    local.settings |= s3.storage_env(bucket.port) | {"MILLSTREAM_DELTA_ROOT": root}
    local.create()
    for number in range(3):
        local.send(*payments(40 * number, 40 * number + 39), b"no payment")
        flow = local.flow(STOP_AT_END="true")
        assert flow.wait() == 0, flow.said()
    assert bucket.done["denied"] == 0
    options = {name.lower(): value for name, value in s3.storage_env(bucket.port).items()}
    silver = pl.read_delta(f"{root}/silver/payments", storage_options=options)
    assert silver.height == 120
