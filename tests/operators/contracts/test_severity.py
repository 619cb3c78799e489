"""What becomes of records that break a check: counted, refused, or the end of the flow."""

import numpy as np
import pytest

import schemas
from operators import metrics
from operators.avro import Decoder
from operators.connectors.registry.schema_source import open_registry
from operators.contracts import ContractError, read_contract
from operators.records.batches import Batch, Progress, RawBatch
from operators.records.rejects import BrokenContractError
from operators.steps.decode import decode_batches
from tests.flows.clicks import click

CHECKS = """
checks:
  - {code: dear, field: cost_minor, range: [0, 100], severity: warn}
  - {code: dear, where: kind <> 'CLICK' OR cost_minor < 90, severity: warn}
  - {code: negative, field: cost_minor, range: [-10, 1000]}
  - {code: nobody, field: user_id, bytes: [1, 9], severity: stop}
"""


def run(*values, text=CHECKS):
    """Return (offsets of the good records, codes of the others) by a contract."""
    latest = schemas.latest("click")
    raw = RawBatch(
        Progress("clicks", 3, 4, 7 + len(values)), np.arange(len(values)) + 7,
        np.full(len(values), -1), (None,) * len(values), list(values), (None,) * len(values),
    )  # fmt: skip
    decoder = Decoder(latest, open_registry(""))
    found = decode_batches([raw], decoder, read_contract(text, latest, "click").check)
    goods = [item.frame for item in found if isinstance(item, Batch)]
    bads = [item for item in found if not isinstance(item, Batch)]
    return (
        [offset for frame in goods for offset in frame["source_offset"]],
        [(row["source_offset"], row["code"]) for frame in bads for row in frame.to_dicts()],
    )


def warned(code):
    return metrics.WARNED.labels("clicks", code)._value.get()


def test_a_warning_is_counted_once_a_record_and_lets_it_pass():
    before = warned("dear")
    good, bad = run(
        click(1, cost_minor=50),
        click(2, cost_minor=101, kind="CLICK"),  # both checks of one code
        click(3, cost_minor=95, kind="CLICK"),
        click(4, cost_minor=-11),  # refused, so no warning of it counts
        click(5, cost_minor=-10),
    )
    assert good == [7, 8, 9, 11]
    assert bad == [(10, "negative")]
    assert warned("dear") - before == 3


def test_a_stop_ends_the_flow_and_names_the_record_and_not_its_values():
    with pytest.raises(BrokenContractError) as ended:
        run(click(1), click(2, user_id="", cost_minor=-99), click(3, user_id=""))
    message = str(ended.value)
    assert message.startswith("record clicks/3/8 breaks negative of its contract")
    assert "user_id: 1 to 9 bytes" in message
    assert "-99" not in message
    # What it says to do.
    text = CHECKS.replace("severity: stop", "severity: quarantine")
    assert run(click(1), click(2, user_id=""), text=text) == ([7], [(8, "nobody")])


def test_a_contract_of_warnings_alone_refuses_nothing():
    text = "checks: [{code: dear, field: cost_minor, range: [0, 1], severity: warn}]"
    frame = Decoder(schemas.latest("click"), open_registry("")).decode([click(5)], [None]).frame
    checked = read_contract(text, schemas.latest("click"), "click").check(
        frame, frame["cost_minor"].cast(int) * 0
    )
    assert checked.good.all()
    assert checked.warned == {"dear": 1}
    assert checked.frame["contract_warnings"].to_list() == ["dear"]
    with pytest.raises(ContractError, match="severity"):
        read_contract(text.replace("warn", "worry"), schemas.latest("click"), "click")


def test_a_good_row_tells_what_it_breaks():
    text = CHECKS + "  - {code: far, field: user_id, pattern: 'u.*', severity: warn}\n"
    rows = [
        click(1, cost_minor=50, user_id="u1"),
        click(2, cost_minor=101, kind="CLICK", user_id="x"),
        click(3, cost_minor=-11, user_id="x"),
        click(4, user_id="x", cost_minor=1),
    ]
    frame = Decoder(schemas.latest("click"), open_registry("")).decode(rows, [None] * 4).frame
    checked = read_contract(text, schemas.latest("click"), "click").check(
        frame, frame["cost_minor"].cast(int) * 0 - 1
    )
    assert checked.good.to_list() == [True, True, False, True]
    told = checked.frame["contract_warnings"].to_list()
    assert (told[0], told[1], told[3]) == (None, "dear,far", "far")
    assert checked.warned == {"dear": 1, "far": 2}
