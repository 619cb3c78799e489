"""Tables of their own for tests that tamper with them."""

import shutil
from pathlib import Path

import pytest

from flows.settings import Settings


@pytest.fixture
def copy(done: Settings, tmp_path: Path) -> Settings:
    """The settings of the module's finished flows with a copy of their tables."""
    root = tmp_path / "tables"
    shutil.copytree(done.delta_root, root)
    return done.model_copy(update={"delta_root": str(root)})
