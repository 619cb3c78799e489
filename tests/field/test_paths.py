"""Tables and recovery stores in folders as people name them."""

import os
import signal
from pathlib import Path

import pytest
from deltalake import DeltaTable
from redis import Redis

from flows import settings
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from ops.query import query
from ops.verify import verify
from tests.field.tables import filled
from tests.field.topic import Field, payments
from tests.running import wait_until

ODD = "My Projects/ü 50% #1/q?x=y&z"


def read_all(field: Field, root: str, rows: int) -> None:
    """Run the flow with tables under `root` until all is in bronze, and stop it."""
    flow = field.flow("payments", f"{ODD} state", DELTA_ROOT=root)
    wait_until(lambda: filled(str(field.folder / ODD), "bronze/payments", rows), 120)
    assert flow.tell(signal.SIGTERM) == 0, flow.said()


def test_a_flow_goes_on_where_it_was_in_a_folder_of_any_name_however_it_is_told(
    local: Field,
) -> None:
    """As a path with a slash behind it, as a URL, and by a relative path through a link.

    Before the last, checkpoints have lost the file that says which is the newest.
    """
    folder, link = local.folder / ODD, local.folder / "link ü"
    link.symlink_to(folder)
    local.create()
    local.send(*payments(0, 9))
    read_all(local, f"{folder}/", 10)
    local.send(*payments(10, 19))
    read_all(local, folder.as_uri(), 20)
    # Redis forgets; what it is filled from again is read from the folder.
    with Redis.from_url(local.settings["MILLSTREAM_REDIS_URL"]) as client:
        client.flushdb()
    for log in folder.rglob("_delta_log"):
        DeltaTable(log.parent).create_checkpoint()
        (log / "_last_checkpoint").unlink()
    local.send(*payments(10, 29))
    read_all(local, os.path.relpath(link, local.folder / f"{ODD} state" / "work"), 40)
    assert (folder / "bronze" / "payments" / "_delta_log").is_dir()
    assert query(str(folder), "SELECT count(*) FROM silver_payments").item() == 30
    again = read(filled(str(folder), "silver/duplicates", 10), ["source_offset", "payment_id"])
    assert again["source_offset"].sort().to_list() == list(range(20, 30))
    report = verify(settings.load(local.settings | {"MILLSTREAM_DELTA_ROOT": str(folder)}))
    assert report.ok, report.to_json()


@pytest.mark.parametrize("name", ["100%25", "a[b]", "back\\slash", "two\nlines"])
def test_a_folder_that_no_table_can_be_in_is_a_setting_that_is_wrong(
    local: Field, name: str
) -> None:
    with pytest.raises(
        settings.SettingsError, match=r"MILLSTREAM_DELTA_ROOT: [\s\S]*name another"
    ):
        settings.load(local.settings | {"MILLSTREAM_DELTA_ROOT": f"/data/{name}"})


def test_a_home_folder_is_meant_where_no_shell_has_put_it() -> None:
    assert table_uri("~/tables", "gold/x") == str(Path.home() / "tables" / "gold" / "x")
