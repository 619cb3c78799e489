"""How a real Redis is brought to refuse, and what it says then."""

import contextlib
import threading
import time

import pytest
from redis import Redis as Client
from redis.exceptions import ResponseError

from tests.running import wait_until


def config(server, **values):
    with server.admin() as client:
        for name, value in values.items():
            client.config_set(name.replace("_", "-"), value)


def run(server, *command):
    with server.admin() as client:
        client.execute_command(*command)


def _full(server):
    with server.admin() as client:
        used = client.info("memory")["used_memory"]
    config(server, maxmemory=used // 2)


def replica(server):
    run(server, "REPLICAOF", "127.0.0.1", "1")


def _link_down(server):
    config(server, replica_serve_stale_data="no")
    replica(server)


def _no_replicas(server):
    config(server, min_replicas_to_write=1)


def _not_saved(server):
    config(server, appendonly="no", save="1 1", dir=str(server.folder))
    (server.folder / "gone").mkdir()
    config(server, dir=str(server.folder / "gone"))
    (server.folder / "gone").rmdir()
    run(server, "SET", "x", "y")
    with contextlib.suppress(Exception):
        run(server, "BGSAVE")
    deadline = time.monotonic() + 20
    with server.admin() as client:
        while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _saved(server):
    config(server, dir=str(server.folder), save="")


def _busy(server):
    config(server, busy_reply_threshold=50)

    def spin():
        with contextlib.suppress(Exception), Client.from_url(server.url) as client:
            client.eval("while true do end", 0)

    threading.Thread(target=spin, daemon=True).start()
    with server.admin() as client, pytest.raises(ResponseError, match="BUSY"):
        wait_until(lambda: not client.ping())


def _free(server):
    run(server, "SCRIPT", "KILL")


def _unlimited(server):
    config(server, maxmemory=0)


def _primary(server):
    run(server, "REPLICAOF", "NO", "ONE")


REFUSALS = {
    "full": (_full, _unlimited, "it is full; raise its maxmemory"),
    "a replica": (replica, _primary, "let MILLSTREAM_REDIS_URL name the primary"),
    "a replica without its primary": (_link_down, _primary, "it is a replica"),
    "no replicas": (
        _no_replicas, lambda server: config(server, min_replicas_to_write=0),
        "lower its min-replicas-to-write",
    ),
    "not saved": (_not_saved, _saved, "it cannot save its data"),
    "busy": (_busy, _free, "SCRIPT KILL ends that"),
}  # fmt: skip
