"""Tables for tests, and tables of their own for those that tamper with them."""

import shutil
from pathlib import Path

import pytest

from flows.settings import Settings
from ops.local import Stack
from tests.field.topic import Field, payments


@pytest.fixture
def copy(done: Settings, tmp_path: Path) -> Settings:
    """The settings of the module's finished flows with a copy of their tables."""
    root = tmp_path / "tables"
    shutil.copytree(done.delta_root, root)
    return done.model_copy(update={"delta_root": str(root)})


@pytest.fixture(scope="session")
def read(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Field:
    """A topic of two partitions that the flow has read to its end, and does not read any more."""
    field = Field(stack, stack.bootstrap, tmp_path_factory.mktemp("status"))
    field.create(2)
    field.send(*payments(1, 30), *[b"no payment"] * 5)
    field.send(*payments(100, 119), partition=1)
    flow = field.flow(STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()
    return field


@pytest.fixture
def tampered(read: Field, tmp_path: Path) -> Field:
    """The same with tables and a recovery store of its own, for tests that tamper with them."""
    for name in ("tables", "state"):
        shutil.copytree(read.folder / name, tmp_path / name)
    found = Field(read.stack, read.bootstrap, tmp_path)
    found.topic = read.topic
    found.settings = read.settings | {"MILLSTREAM_DELTA_ROOT": str(tmp_path / "tables")}
    return found
