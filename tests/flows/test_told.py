"""What Bytewax is told, as we read it, and what is refused of it."""

import os
import socket
from pathlib import Path

import pytest

import flows
from flows import told as told_
from flows.ports import PORTS, default_port
from flows.settings import SettingsError
from flows.told import Told, check_endpoint, told
from operators.errors import KnownError
from ops import health
from ops.processes import free_port


@pytest.fixture(autouse=True)
def _no_bytewax(monkeypatch):
    for name in list(os.environ):
        if name.startswith("BYTEWAX_"):
            monkeypatch.delenv(name)
    told.cache_clear()
    yield
    told.cache_clear()


def say(monkeypatch, *arguments: str, **environ: str) -> Told:
    monkeypatch.setattr("sys.argv", ["run", "flows.payments", *arguments])
    for name, value in environ.items():
        monkeypatch.setenv(f"BYTEWAX_{name}", value)
    return told()


def test_the_command_line_counts_before_the_environment(monkeypatch):
    heard = say(
        monkeypatch, "-r", "state", "-i", "1", "-a", "a:1;b:2", "-s", "1", "-b", "0",
        RECOVERY_DIRECTORY="other", PROCESS_ID="0", WORKERS_PER_PROCESS="3",
    )  # fmt: skip
    assert heard == Told(Path("state"), 1, ("a:1", "b:2"), 3, epoch=1)


def test_a_pod_knows_its_number_and_the_others(monkeypatch, tmp_path):
    (tmp_path / "hosts").write_text("flow-0:1\n\nflow-1:1\n")
    heard = say(
        monkeypatch, POD_NAME="flow-1", STATEFULSET_NAME="flow",
        HOSTFILE_PATH=str(tmp_path / "hosts"),
    )  # fmt: skip
    assert heard == Told(None, 1, ("flow-0:1", "flow-1:1"), 1)


def test_nothing_is_one_process_with_one_worker(monkeypatch):
    say(monkeypatch).check()
    assert told() == Told(None, 0, (), 1)


def test_all_that_cannot_be_is_named_at_once(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SettingsError) as raised:
        Told(file / "state", 3, ("here:1", "here:1", "nowhere", "there:99999"), 0).check()
    lines = str(raised.value).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["-w", "-a", "-a", "-a", "-r"]
    assert "'nowhere' is no host:port" in lines[1]
    assert f"{file} is no folder" in lines[4]
    with pytest.raises(SettingsError, match=r"-i .* is 2, but -a .* 2 processes, 0 to 1"):
        Told(None, 2, ("here:1", "there:1"), 1).check()


def test_an_address_that_another_process_has_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(KnownError, match=f"process 0 cannot listen on {address}"):
            Told(None, 0, (address,), 1).check()
    Told(None, 0, (address,), 1).check()


@pytest.mark.parametrize("no", ["0", "false", "Off", ""])
def test_no_means_no_endpoint(monkeypatch, no):
    monkeypatch.setenv("BYTEWAX_DATAFLOW_API_ENABLED", no)
    check_endpoint(3030)
    assert "BYTEWAX_DATAFLOW_API_ENABLED" not in os.environ


def test_the_port_that_is_named_instead_of_a_taken_one_is_free(monkeypatch, tmp_path):
    monkeypatch.setenv("BYTEWAX_DATAFLOW_API_ENABLED", "1")
    monkeypatch.setenv("BYTEWAX_DATAFLOW_API_CACHE_PATH", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", free_port()))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("BYTEWAX_DATAFLOW_API_PORT", str(port))
        with pytest.raises(KnownError, match=r"(\d+) is free") as raised:
            check_endpoint(3030)
        words = str(raised.value).split()
        monkeypatch.setenv("BYTEWAX_DATAFLOW_API_PORT", words[words.index("free,") - 2])
        check_endpoint(3030)
    monkeypatch.setenv("BYTEWAX_DATAFLOW_API_PORT", "http")
    with pytest.raises(SettingsError, match="'http' is no port"):
        check_endpoint(3030)


@pytest.mark.parametrize("told", [None, "41999"])
def test_a_flow_has_a_port_of_its_own_unless_it_is_told_one(monkeypatch, tmp_path, told):
    monkeypatch.setenv("BYTEWAX_DATAFLOW_API_ENABLED", "1")
    monkeypatch.setenv("BYTEWAX_DATAFLOW_API_CACHE_PATH", str(tmp_path))
    # So that what is set here is gone behind it.
    monkeypatch.setenv("BYTEWAX_DATAFLOW_API_PORT", told or "")
    if told is None:
        monkeypatch.delenv("BYTEWAX_DATAFLOW_API_PORT")
    own = free_port()
    check_endpoint(own)
    # Bytewax reads it where it is set.
    assert os.environ["BYTEWAX_DATAFLOW_API_PORT"] == (told or str(own))


def test_every_flow_has_a_port_that_no_process_of_another_has():
    modules = {path.stem for path in Path(flows.__file__).parent.glob("*.py")
               if "def flow() -> Dataflow" in path.read_text()}  # fmt: skip
    assert modules == PORTS.keys()
    # A cluster of ten processes each, of one machine.
    ports = [default_port(flow, number) for flow in PORTS for number in range(10)]
    assert len(set(ports)) == len(ports)
    assert default_port("one of ours") not in ports
    assert default_port("payments") == health._PAYMENTS


def test_where_no_port_follows_the_system_names_one():
    with socket.socket() as probe:
        probe.bind(("", told_._free_port(65535)))
