"""DuckDB makes every windowed gold table of silver, and BI's views say what silver says."""

import io
import json
import shutil
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
import sqlglot
from deltalake import write_deltalake
from polars.testing import assert_frame_equal
from sqlglot import exp

from flows.streams import PAYMENTS
from operators.windows import newest
from ops import cli
from ops.bi.dialects import DIALECTS
from ops.bi.duck import opened
from ops.bi.views import SOURCES, views
from tests.flows import by_day
from tests.flows.in_sql import LATENESS_US, QUERIES, SEEN
from tests.flows.of_currencies import made


@pytest.fixture(scope="module")
def rows() -> dict[str, pl.DataFrame]:
    return made()


@pytest.mark.parametrize("name", QUERIES)
def test_duckdb_makes_the_same_rows_of_silver(rows, name):
    silver = rows["silver/payments"].to_arrow()  # DuckDB finds it by its name
    gold = rows[name]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("silver", silver)
        connection.execute(f"CREATE VIEW seen AS {SEEN}")
        made = pl.DataFrame(pl.from_arrow(connection.sql(QUERIES[name]).to_arrow_table()))
    times = (
        pl.col("window_start", "window_end").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    )
    made = made.with_columns(times)
    keys = made.columns[: made.columns.index("window_end") + 1]
    windows = PAYMENTS.windowed(LATENESS_US)[name.removeprefix("gold/")]
    found = newest(gold, windows)
    assert found.height == made.height > 100
    assert found.select(made.columns).sort(keys).equals(made.sort(keys))


def test_there_is_something_late_and_something_revised(rows):
    assert set(rows["gold/late"]["step"]) == {
        "terminal_minute",
        "category_hour",
        "terminal_day",
        "customer_day",
        "card_sessions",
    }
    assert rows["gold/category_hour"]["revision"].max() == 1


# --- the views of BI over these tables, beside Polars on silver ------------------------------

VIEWS = {
    "daily_sales": ("revenue", "largest_payment"),
    "customer_segments": ("spend", "largest_payment"),
    "category_performance": ("revenue", "largest_payment"),
    "terminal_comparison": ("revenue",),
    "top_categories_30d": ("revenue", "previous_revenue"),
    "monthly_revenue": ("revenue", "previous_revenue"),
}


@pytest.fixture(scope="module")
def tables(rows, tmp_path_factory) -> str:
    """The root of the tables that the views read."""
    root = tmp_path_factory.mktemp("tables")
    for source in SOURCES.values():
        path = root / source.table.name
        path.mkdir(parents=True)
        write_deltalake(path, rows[source.table.name])
    return str(root)


@pytest.fixture(scope="module")
def bi(tables):
    connection, lacking = opened(tables)
    with connection:
        assert lacking == []
        yield connection


@pytest.fixture(scope="module")
def seen(bi) -> dict[str, pl.DataFrame]:
    """What each view has."""
    return {
        view.name: bi.sql(f"SELECT * FROM bi.{view.name} ORDER BY ALL").pl() for view in views()
    }


@pytest.fixture(scope="module")
def payments(rows) -> pl.DataFrame:
    """What the days of the views have."""
    counted = by_day.counted(rows["silver/payments"], timedelta(microseconds=LATENESS_US))
    late = rows["gold/late"].filter(pl.col("step") == "terminal_day")
    assert rows["silver/payments"].height - counted.height == late.height > 0
    assert set(counted["currency"]) == {"EUR", "JPY", "KWD"}
    return counted


def same(view: pl.DataFrame, made: pl.DataFrame) -> None:
    """Assert that a view has the rows that were made, in the columns that these have."""
    assert view.height == made.height > 2
    found = view.select(made.columns).sort(made.columns)
    assert_frame_equal(found, made.sort(made.columns), check_dtypes=False)


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_says_what_silver_says(seen, payments, name):
    view = by_day.in_minor(seen[name], *VIEWS[name])
    same(view, getattr(by_day, name)(payments))


def test_funnel_and_quality_say_what_the_tables_say(seen, payments, rows):
    funnel = by_day.alert_funnel(payments, rows["gold/alerts"])
    assert funnel["payments_alerted"].sum() > 5
    same(seen["alert_funnel"], funnel)
    quality = by_day.data_quality(rows)
    assert set(quality["outcome"]) == {"in time", "late", "duplicate", "refused"}
    assert quality["day"].n_unique() > 2
    same(seen["data_quality"], quality)
    shares = seen["data_quality"].group_by("day").agg(pl.sum("share"))
    assert shares["share"].to_list() == pytest.approx([1.0] * shares.height)


def test_views_of_views_say_what_these_say(seen, payments):
    segments = by_day.customer_segments(payments)
    assert set(segments["segment"]) == {"HIGH", "MEDIUM", "LOW"}
    best = by_day.in_minor(seen["high_value_customers"], "spend")
    chosen = segments.filter(pl.col("segment") == "HIGH", pl.col("place") <= 100)
    same(best, chosen.select("place", "customer_id", "currency", "payments", "spend"))
    dashboard = seen["executive_dashboard"]
    newest, last = payments["day"].max(), by_day._last
    for row in by_day.in_minor(dashboard, "revenue_1d", "revenue_30d").iter_rows(named=True):
        mine = payments.filter(pl.col("currency") == row["currency"])
        of_30 = mine.filter(pl.col("day") > newest - timedelta(days=30))
        of_1 = mine.filter(pl.col("day") == newest)
        assert row["newest_day"] == newest
        assert (row["payments_1d"], row["payments_30d"]) == (of_1.height, of_30.height)
        assert row["revenue_1d"] == of_1["amount_minor"].sum()
        assert row["revenue_30d"] == of_30["amount_minor"].sum()
        assert row["customers_30d"] == of_30["customer_id"].n_unique()
        assert row["terminals_30d"] == of_30["terminal_id"].n_unique()
    assert dashboard.height == 3
    assert last(payments, 30).height < payments.height


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if name != "duckdb"])
def test_what_an_engine_is_given_says_the_same(bi, seen, dialect):
    """Each view as an engine gets it, read by sqlglot's parser of that engine, run by DuckDB."""
    engine = DIALECTS[dialect]
    bi.execute(f"CREATE SCHEMA {dialect}")
    for view in views():
        (read,) = sqlglot.parse(
            engine.view(view).removesuffix(engine.ends), read=engine.sqlglot
        )
        assert isinstance(read, exp.Create)
        # What no parser complains about, and these engines have not, or not so.
        assert not list(read.find_all(exp.Command, exp.Interval, exp.Anonymous, exp.Qualify))
        back = read.sql("duckdb").replace(f"bi.{view.name} AS", f"{dialect}.{view.name} AS", 1)
        # T-SQL's has 64 bits.
        back = back.replace(" AS REAL)", " AS DOUBLE)") if dialect == "synapse" else back
        bi.execute(back)
        theirs = bi.sql(f"SELECT * FROM {dialect}.{view.name} ORDER BY ALL").pl()
        assert_frame_equal(theirs, seen[view.name])
        # As T-SQL wants each derived table to have a name.
        assert all(each.alias for each in read.find_all(exp.Subquery))


def test_each_column_is_told_of_and_the_page_shows_all(seen, tables, tmp_path, capsys):
    for view in views():
        assert seen[view.name].columns == list(view.columns)
        assert all(view.columns.values())
        assert view.about
    written = tmp_path / "report.html"
    with pytest.raises(SystemExit) as ended:
        cli.main(["bi", "report", "--root", tables, "--html", str(written)])
    assert ended.value.code == 0
    assert "revenue_30d" in capsys.readouterr().out
    html = written.read_text()
    assert html.count("<svg ") == 3 * 3 + 3
    assert "http" not in html.replace("http-equiv", "")
    for told in ("EUR", "JPY", "KWD", "Alert funnel", "Data quality", "Top categories"):
        assert told in html
    # Who looks at a page that is sent around is told of no customer and no card.
    people = seen["customer_days"]["customer_id"].unique()
    assert not any(each in html for each in people)


def asked(capsys, *arguments: str) -> tuple[int, str, str]:
    """Return the exit status of ``millstream bi``, and what it prints."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["bi", *arguments])
    return int(ended.value.code), *capsys.readouterr()


def test_the_shell_answers_with_rows_or_a_line(seen, tables, tmp_path, capsys, monkeypatch):
    root = ("--root", tables)
    sql = "SELECT currency, payments_30d FROM executive_dashboard ORDER BY currency"
    status, said, _ = asked(capsys, "shell", *root, "--json", "-c", sql)
    expected = seen["executive_dashboard"].sort("currency")[["currency", "payments_30d"]]
    assert status == 0
    assert [json.loads(line) for line in said.splitlines()] == expected.to_dicts()
    status, said, wrong = asked(
        capsys, "shell", *root, "-c", "SELECT nothing_such FROM daily_sales"
    )
    assert (status, said) == (1, "")
    assert wrong.startswith("error: Binder Error")
    # A filter on text, which is what is asked for most.
    lines = (
        "SELECT count(*) AS n\nFROM terminal_days WHERE currency = 'KWD';\nSELECT 7 AS seven"
    )
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    status, said, _ = asked(capsys, "shell", *root)
    of_kwd = seen["terminal_days"].filter(pl.col("currency") == "KWD").height
    assert (status, said.split()) == (0, ["n", str(of_kwd), "seven", "7"])
    # Tables of earlier releases have all the other views.
    without = shutil.ignore_patterns("data_quality")
    shutil.copytree(Path(tables) / "gold", tmp_path / "gold", ignore=without)
    status, said, wrong = asked(capsys, "report", "--root", str(tmp_path), "--json")
    assert (status, wrong) == (0, "without data_quality: their tables are not there\n")
    assert json.loads(said).keys() >= {"executive_dashboard", "alert_funnel"}
