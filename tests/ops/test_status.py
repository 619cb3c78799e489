"""The status of flows: what it shows, whatever runs, and that what it says to do mends it."""

import json
import os
import shlex
import threading
import time
from datetime import UTC, datetime

import pytest

from flows import settings as settings_
from ops import cli
from ops.status import cli as status_cli
from tests.field.topic import Field
from tests.ops.statuses import AWAY, look, payments_of, text


def test_a_flow_that_has_read_all_and_stopped(read: Field) -> None:
    status = look(read)
    flow = payments_of(status)
    assert (flow.state, flow.lag, flow.recovery) == (
        "stopped", 0, str(read.folder / "state/payments"),
    )  # fmt: skip
    (topic,) = flow.topics
    assert (topic.position, topic.position_of, topic.worst) == (
        {0: 35, 1: 20}, "recovery store", None,
    )  # fmt: skip
    assert flow.mark is not None
    assert (flow.mark.topic, flow.mark.partition) == (read.topic, 0)
    assert flow.mark.ahead == 89
    tables = {each.table: each for each in flow.tables}
    assert tables["bronze/payments"].rows == 55
    assert tables["silver/payments"].newest == datetime(2026, 3, 1, 12, 1, 59, tzinfo=UTC)
    assert flow.letters is not None
    assert (flow.letters.all, flow.letters.last_hour, flow.letters.records) == (5, 5, 55)
    assert flow.letters.codes == {"bad_magic": {"all": 5, "last_hour": 5}}
    assert sum(each.rows for each in flow.commits if each.table == "silver/payments") == 50
    (problem,) = flow.problems
    assert problem.problem == "9% of the last hour's records were refused (5 of 55)"
    assert [each.state for each in status.flows if each.flow != "payments"] == ["never run"] * 6
    shown = text(status)
    for part in ("payments  stopped", "; 0 to read", "bad_magic 5 (5)", "✗ 9% of"):
        assert part in shown
    assert f"{flow.commits[0].at:%H:%M:%S} epoch {flow.commits[0].epoch}, " in shown
    assert (
        "never run with these settings: alerts, clicks, customers, terminals, chargebacks, enriched"
        in shown
    )


def test_its_advice_on_refused_records_shows_them(read: Field, capsys, monkeypatch) -> None:
    monkeypatch.setenv("MILLSTREAM_DELTA_ROOT", read.settings["MILLSTREAM_DELTA_ROOT"])
    (problem,) = payments_of(look(read)).problems
    program, *command = shlex.split(problem.to_do.partition(": ")[2])
    assert program == "millstream"
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert ended.value.code == 0
    assert "bad_magic" in capsys.readouterr().out


def test_without_kafka_and_without_a_store_it_shows_what_the_tables_tell(read: Field) -> None:
    status = look(read, store="", KAFKA_BOOTSTRAP_SERVERS=AWAY)
    assert status.kafka_away is not None
    (problem, *_) = status.problems
    assert AWAY in problem.problem
    assert "check that the brokers run" in problem.to_do
    flow = payments_of(status)
    assert flow.lag is None
    (topic,) = flow.topics
    assert (topic.position, topic.position_of) == ({0: 35, 1: 20}, "tables")
    assert {each.table for each in flow.tables} >= {"bronze/payments", "silver/payments"}
    assert flow.letters is not None
    assert "how much there is to read is not known" in text(status)


def test_the_command(read: Field, monkeypatch, capsys) -> None:
    for name in [each for each in os.environ if each.startswith(settings_.PREFIX)]:
        monkeypatch.delenv(name)
    with pytest.raises(SystemExit) as ended:
        cli.main(["status"])
    assert ended.value.code == 2
    for name, value in read.settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", "payment"])
    assert ended.value.code == 2
    assert (
        "there is no flow payment: payments, alerts, clicks, customers, terminals, chargebacks, "
        "enriched" in (capsys.readouterr().err)
    )
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", "payments", "--json", "-r", str(read.folder / "state/payments")])
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    (flow,) = found["flows"]
    assert (flow["flow"], flow["lag"], flow["state"]) == ("payments", 0, "stopped")
    assert datetime.fromisoformat(flow["tables"][0]["committed"]) < datetime.now(UTC)
    (read.folder / "text").mkdir(exist_ok=True)
    (read.folder / "text" / "part-0.sqlite3").write_text("no store at all, but a text")
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", "-r", str(read.folder / "text")])
    assert ended.value.code == 1
    assert "is no recovery store" in capsys.readouterr().err


def test_watching_looks_again_until_ctrl_c(read: Field, monkeypatch, capsys) -> None:
    for name, value in read.settings.items():
        monkeypatch.setenv(name, value)
    waited: list[float] = []
    sleep = time.sleep

    def wait(seconds: float) -> None:
        # Threads that other tests have left wait as well.
        if threading.current_thread() is not threading.main_thread():
            sleep(seconds)
            return
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt

    for arguments, shown in (["--json"], '"flow": "payments"'), ([], "  dead letters"):
        waited.clear()
        with monkeypatch.context() as patch:
            patch.setattr(status_cli.time, "sleep", wait)
            with pytest.raises(SystemExit) as ended:
                cli.main(["status", "payments", "--watch", *arguments])
        assert (ended.value.code, waited) == (130, [2.0, 2.0])
        assert capsys.readouterr().out.count(shown) == 2
