"""Where status asks for metrics: at each flow's own port, or where it is told."""

import pytest

from flows.ports import PORTS
from operators.errors import KnownError
from ops import cli

SETTINGS = {
    "MILLSTREAM_REDIS_URL": "redis://localhost",
    "MILLSTREAM_DELTA_ROOT": "/nowhere",
    "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
}


@pytest.mark.parametrize(
    ("arguments", "told", "asked"),
    [
        # But that of enforce, of which no folder is set.
        ([], None, [f"localhost:{PORTS[flow]}" for flow in sorted(PORTS.keys() - {"enforce"})]),
        (["alerts", "payments"], None, ["localhost:3030", "localhost:3040"]),
        (["alerts"], "4711", ["localhost:4711"]),
        (["--metrics", "there:1", "--metrics", "here:2"], "4711", ["here:2", "there:1"]),
    ],
)
def test_each_flows_own_port_is_asked_unless_another_is_told(
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str | None,
    asked: list[str],
) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MILLSTREAM_ENFORCE_FOLDER", raising=False)
    monkeypatch.delenv("BYTEWAX_DATAFLOW_API_PORT", raising=False)
    if told:
        monkeypatch.setenv("BYTEWAX_DATAFLOW_API_PORT", told)
    found: list[str] = []

    def gather(_flows: object, _stores: object, metrics: list[str]) -> None:
        found.extend(metrics)
        raise KnownError("that will do")

    monkeypatch.setattr("ops.status.gather.gather", gather)
    with pytest.raises(SystemExit):
        cli.main(["status", "--json", *arguments])
    assert sorted(found) == sorted(asked)
