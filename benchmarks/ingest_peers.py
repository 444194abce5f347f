"""What ingestion is measured beside: the same checks on the same objects by other tools, each in its own way.

    python benchmarks/ingest_peers.py PEER LANDING OUT     # prints rows, accepted, and the seconds it took, as JSON

Each reads the rides, applies the contract's rules, drops doubles by key and writes the accepted rows as Parquet; the
refused are counted. None records a row's reason, commits, or could be killed. Great Expectations only says how many
rows break each rule, object by object, and neither drops nor writes anything. Needs no raypipe, so that pandera and
Great Expectations can live in an environment of their own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

CITIES = [
    "amsterdam", "berlin", "cairo", "delhi", "espoo", "fukuoka", "ghent", "hanoi", "izmir", "jaipur", "kyiv", "lima",
]  # fmt: skip
PLATE = "^[A-Z]{2}[0-9]{4}$"
Counts = tuple[int, int]


def pyarrow(landing: Path, out: Path) -> Counts:
    """Return rows and accepted rows of pyarrow alone, object by object."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rows, kept_tables = 0, []
    for file in sorted(landing.iterdir()):
        t = pq.read_table(file)
        rows += t.num_rows
        good = [
            pc.equal(pc.utf8_length(t["ride"]), 12),
            pc.is_in(t["city"], pa.array(CITIES)),
            pc.match_substring_regex(t["plate"], PLATE),
            pc.and_(pc.greater_equal(t["distance_km"], 0), pc.less_equal(t["distance_km"], 500)),
            pc.greater_equal(t["fare"], 0),
            pc.and_(pc.greater_equal(t["passengers"], 1), pc.less_equal(t["passengers"], 8)),
            pc.fill_null(pc.and_(pc.greater_equal(t["rating"], 1), pc.less_equal(t["rating"], 5)), True),
        ]
        keep = good[0]
        for rule in good[1:]:
            keep = pc.and_kleene(keep, rule)
        kept_tables.append(t.filter(pc.fill_null(keep, False)))
    table = pa.concat_tables(kept_tables)
    numbered = table.append_column("n", pa.array(range(table.num_rows), pa.int64()))
    first = numbered.group_by("ride").aggregate([("n", "min")])["n_min"]
    unique = table.take(first.combine_chunks().sort())
    pq.write_table(unique, out / "out.parquet")
    return rows, unique.num_rows


def duckdb(landing: Path, out: Path) -> Counts:
    """Return the same of one DuckDB statement."""
    import duckdb

    con = duckdb.connect()
    con.execute("set timezone='UTC'")
    source = f"read_parquet('{landing}/*.parquet')"
    rules = (
        f"length(ride) = 12 and city in {tuple(CITIES)} and regexp_full_match(plate, '[A-Z]{{2}}[0-9]{{4}}') and "
        "distance_km between 0 and 500 and fare >= 0 and passengers between 1 and 8 and "
        "(rating is null or rating between 1 and 5)"
    )
    con.execute(
        f"copy (select any_value(c) c from (select ride, c from (select ride, r c from {source} r where {rules})) "
        f"group by ride) to '{out}/out.parquet' (format parquet)"
    )
    (rows,) = con.execute(f"select count(*) from {source}").fetchone() or (0,)
    (accepted,) = con.execute(f"select count(*) from '{out}/out.parquet'").fetchone() or (0,)
    return rows, accepted


def polars(landing: Path, out: Path) -> Counts:
    """Return the same of one streaming query of Polars."""
    import polars as pl

    source = pl.scan_parquet(str(landing / "*.parquet"))
    rules = (
        (pl.col("ride").str.len_chars() == 12)
        & pl.col("city").is_in(CITIES)
        & pl.col("plate").str.contains(PLATE)
        & pl.col("distance_km").is_between(0, 500)
        & (pl.col("fare") >= 0)
        & pl.col("passengers").is_between(1, 8)
        & pl.col("rating").is_between(1, 5).fill_null(True)
    )
    source.filter(rules).unique("ride", keep="any").sink_parquet(out / "out.parquet", engine="streaming")
    counted = [q.select(pl.len()).collect().item() for q in (source, pl.scan_parquet(out / "out.parquet"))]
    return counted[0], counted[1]


def pandera(landing: Path, out: Path) -> Counts:
    """Return the same of pandera on Polars, object by object, dropping what breaks a rule."""
    import pandera.polars as pa
    import polars as pl

    schema = pa.DataFrameSchema(
        {
            "ride": pa.Column(str, pa.Check.str_length(12, 12)),
            "at": pa.Column(pl.Datetime("us", "UTC")),
            "city": pa.Column(str, pa.Check.isin(CITIES)),
            "plate": pa.Column(str, pa.Check.str_matches(PLATE)),
            "distance_km": pa.Column(float, pa.Check.in_range(0, 500)),
            "fare": pa.Column(float, pa.Check.ge(0)),
            "passengers": pa.Column(int, pa.Check.in_range(1, 8)),
            "rating": pa.Column(float, pa.Check.in_range(1, 5), nullable=True),
        },
        drop_invalid_rows=True,
    )
    rows, kept = 0, []
    for file in sorted(landing.iterdir()):
        frame = pl.read_parquet(file)
        rows += frame.height
        kept.append(schema.validate(frame, lazy=True))
    unique = pl.concat(kept).unique("ride", keep="first")
    unique.write_parquet(out / "out.parquet")
    return rows, unique.height


def great_expectations(landing: Path, out: Path) -> Counts:
    """Return the rows, and those that break no rule as if no row broke two; nothing is dropped or written."""
    import great_expectations as gx
    import pandas as pd

    del out
    context = gx.get_context(mode="ephemeral")
    batches = context.data_sources.add_pandas("rides").add_dataframe_asset("rides")
    suite = context.suites.add(gx.ExpectationSuite("rides"))
    for e in (
        gx.expectations.ExpectColumnValueLengthsToEqual(column="ride", value=12),
        gx.expectations.ExpectColumnValuesToNotBeNull(column="at"),
        gx.expectations.ExpectColumnValuesToBeInSet(column="city", value_set=CITIES),
        gx.expectations.ExpectColumnValuesToMatchRegex(column="plate", regex=PLATE),
        gx.expectations.ExpectColumnValuesToBeBetween(column="distance_km", min_value=0, max_value=500),
        gx.expectations.ExpectColumnValuesToNotBeNull(column="fare"),
        gx.expectations.ExpectColumnValuesToBeBetween(column="passengers", min_value=1, max_value=8),
        gx.expectations.ExpectColumnValuesToBeBetween(column="rating", min_value=1, max_value=5),
        gx.expectations.ExpectColumnValuesToBeUnique(column="ride"),
    ):
        suite.add_expectation(e)
    whole = batches.add_batch_definition_whole_dataframe("rides")
    check = context.validation_definitions.add(gx.ValidationDefinition(name="rides", data=whole, suite=suite))
    rows = broken = 0
    for file in sorted(landing.iterdir()):
        frame = pd.read_parquet(file)
        rows += len(frame)
        found = check.run(batch_parameters={"dataframe": frame}, result_format="BASIC")
        unexpected = [
            r.result["unexpected_count"]
            for r in found.results
            if r.expectation_config.type != "expect_column_values_to_be_unique"
        ]
        broken += sum(unexpected)
    return rows, rows - broken


PEERS: dict[str, Callable[[Path, Path], Counts]] = {
    f.__name__: f for f in (pyarrow, duckdb, polars, pandera, great_expectations)
}


def main() -> None:
    """Run one peer once, after one object to warm it, and print what it did."""
    peer, landing, out = PEERS[sys.argv[1]], Path(sys.argv[2]), Path(sys.argv[3])
    out.mkdir(exist_ok=True)
    small = out / "warm"
    small.mkdir()
    first = min(landing.iterdir())
    (small / first.name).symlink_to(first)
    peer(small, out)
    began = time.perf_counter()
    rows, accepted = peer(landing, out)
    print(json.dumps({"rows": rows, "accepted": accepted, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
