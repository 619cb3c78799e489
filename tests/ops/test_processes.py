import os
import signal
import subprocess
import sys
import time

import pytest

from ops.processes import Server, ServerError, from_json, start, to_json


def test_servers_die_with_a_parent_that_is_killed(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from ops.processes import *\n"
        "command = lambda port: [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "server, _ = start('sleeper', command, lambda port: True, Path(sys.argv[1]))\n"
        "print(to_json([server]), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    lines = [parent.stdout.readline() for _ in range(12)]
    (server,) = from_json("".join(lines))
    assert server.alive()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while server.alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not server.alive()


def test_a_server_that_exits_at_once_is_an_error_that_names_its_log(tmp_path):
    log = tmp_path / "broken.log"
    with pytest.raises(
        ServerError, match=r"broken: exited with code 7 at start; see .*broken.log"
    ):
        start("broken", lambda _: [sys.executable, "-c", "exit(7)"], lambda _: False, log)


def test_a_server_that_never_gets_ready_is_ended(tmp_path):
    command = [
        sys.executable,
        "-c",
        "import os, time; print(os.getpid(), flush=True); time.sleep(60)",
    ]
    log = tmp_path / "log"
    with pytest.raises(ServerError, match="not ready within"):
        start("slow", lambda _: command, lambda _: False, log, timeout=1)
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), 0)


def test_a_process_with_a_reused_pid_is_not_ours():
    mine = Server("x", os.getpid(), 1, born=1, log="")
    assert not mine.alive()
    assert from_json(to_json([mine])) == [mine]
