"""Nexmark's queries on our operators give what DuckDB gives on the same events."""

import duckdb
import polars as pl
import pytest

from benchmarks.nexmark.events import ALL, Params, activations, events
from benchmarks.nexmark.queries import QUERIES

SQL = {
    "q5": """
        WITH slid AS (
            SELECT auction, unnest(range(
                epoch_us(event_time) // 2000000 * 2000000 + 2000000,
                epoch_us(event_time) // 2000000 * 2000000 + 10000001, 2000000)) AS ends
            FROM events WHERE kind = 'bid'
        ), counted AS (SELECT auction, ends, count(*) AS bids FROM slid GROUP BY ALL)
        SELECT auction, bids, make_timestamptz(ends) AS window_end FROM counted
        QUALIFY bids = max(bids) OVER (PARTITION BY ends)
    """,
    "q7": """
        SELECT auction, bidder, price, event_time FROM events WHERE kind = 'bid'
        QUALIFY price = max(price) OVER (PARTITION BY epoch_us(event_time) // 10000000)
    """,
    "q8": """
        WITH p AS (SELECT DISTINCT id, name, epoch_us(event_time) // 10000000 * 10000000 AS w
                   FROM events WHERE kind = 'person'),
             a AS (SELECT DISTINCT seller, epoch_us(event_time) // 10000000 * 10000000 AS w
                   FROM events WHERE kind = 'auction')
        SELECT p.id, p.name, p.w AS "window" FROM p JOIN a ON p.id = a.seller AND p.w = a.w
    """,
    "q11": """
        WITH gaps AS (
            SELECT bidder, event_time, coalesce(event_time - lag(event_time) OVER of_bidder
                >= INTERVAL 10 seconds, true) AS starts
            FROM events WHERE kind = 'bid'
            WINDOW of_bidder AS (PARTITION BY bidder ORDER BY event_time)
        ), numbered AS (
            SELECT *, sum(starts::INT) OVER (PARTITION BY bidder ORDER BY event_time
                ROWS UNBOUNDED PRECEDING) AS session FROM gaps)
        SELECT bidder, min(event_time) AS window_start,
            max(event_time) + INTERVAL 10 seconds AS window_end, count(*) AS bids
        FROM numbered GROUP BY bidder, session
    """,
    "q12": """
        SELECT bidder, make_timestamptz(w) AS window_start,
            make_timestamptz(w + 10000000) AS window_end, count(*) AS bids
        FROM (SELECT bidder, epoch_us(event_time) // 10000000 * 10000000 AS w
              FROM events WHERE kind = 'bid') GROUP BY bidder, w
    """,
}

PARAMS = Params(events=150_000, rate=2_000, disorder=3_000_000, partitions=3, seed=7)


@pytest.fixture(scope="module")
def made() -> pl.DataFrame:
    return events(PARAMS)


def _sorted(frame: pl.DataFrame) -> pl.DataFrame:
    times = pl.selectors.datetime()
    frame = frame.with_columns(times.dt.convert_time_zone("UTC").dt.cast_time_unit("us"))
    return frame.sort(frame.columns)


@pytest.mark.parametrize("size", [997, 20_000])
@pytest.mark.parametrize("name", QUERIES)
def test_the_query_equals_duckdb(made, name, size):
    query = QUERIES[name](PARAMS.partitions)
    found = [query.advance(batches) for batches in activations(made, PARAMS, size)]
    ours = pl.concat([frame for frame in found if frame is not None])
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register(
            "events", made.with_columns(pl.col("kind").cast(pl.String)).to_arrow()
        )
        theirs = pl.from_arrow(connection.execute(SQL[name]).to_arrow_table())
    assert ours.height > 5
    theirs = theirs.select(
        pl.col(n).cast(pl.Int64) if t == pl.Int64 else pl.col(n) for n, t in ours.schema.items()
    )
    assert _sorted(ours).equals(_sorted(theirs))


def test_the_mix_is_the_published_one(made):
    shares = dict(made["kind"].value_counts().iter_rows())
    assert shares == {
        "person": made.height // ALL,
        "auction": 3 * made.height // ALL,
        "bid": 46 * made.height // ALL,
    }


def test_nobody_bids_on_or_sells_what_is_not_there_yet(made):
    ordered = made.sort("event_time", maintain_order=True)
    known = ordered.with_columns(
        auctions=(pl.col("kind") == "auction").cum_sum(),
        people=(pl.col("kind") == "person").cum_sum(),
    )
    bids = known.filter((pl.col("kind") == "bid") & (pl.col("auctions") > 0))
    assert (bids["auction"] < 1000 + bids["auctions"]).all()
    assert (bids["bidder"] < 1000 + bids["people"]).all()
