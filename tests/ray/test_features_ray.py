"""Examples built in slices on Ray equal those built at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.adapters import features_ray
from raypipe.adapters.features_ray import build, cut
from raypipe.adapters.lake.files import DataFile, TableFiles
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.environment import StoreAddress
from raypipe.errors import ConfigError, Unavailable
from raypipe.features.examples import build_examples, examples_schema
from raypipe.features.view import FeaturesSpec, LabelSpec

# Ray warns of its own settings when it copies them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TIMES = pa.timestamp("us", "UTC")
START = datetime(2013, 1, 1, tzinfo=UTC)
DAYS = 12
FEATURES = FeaturesSpec.model_validate(
    {
        "spine": "orders",
        "prediction_time": "due_at - 2h",
        "request": ["due_at", "shop"],
        "views": [
            {"name": "weather", "entity": ["shop"], "source": "weather", "ttl": "6h", "columns": ["temp", "sky"]},
            {
                "name": "shop",
                "entity": ["shop"],
                "source": "deliveries",
                "aggregate": {
                    "delay_6h": {"mean": "delay", "over": "6h"},
                    "late_3d": {"mean": "delay > 0.5", "over": "3d"},
                    "n_3d": {"count": "*", "over": "3d"},
                },
            },
        ],
    }
)
LABEL = LabelSpec.model_validate(
    {"name": "late", "source": "deliveries", "from": "delay > 0.5", "matures_within": "2d"}
)


def times(seconds: np.ndarray) -> pa.Array:
    start = int(START.timestamp() * 1_000_000)
    return pa.array(start + (seconds * 1_000_000).astype(np.int64)).cast(TIMES)


def world(seed: int) -> dict[str, pa.Table]:
    """Orders with their deliveries, some unknown, some late to be known, over whole days; every slice has borders."""
    rng = np.random.default_rng(seed)
    n = 3_000
    due = np.sort(rng.uniform(0, DAYS * 86400, n))
    shop = rng.choice(["a", "b", "c"], n, p=[0.9, 0.09, 0.01])
    ids = pa.array([f"o{i}" for i in range(n)])
    orders = pa.table({"event_id": ids, "event_at": times(due), "known_at": times(due - 9e5), "due_at": times(due)})
    orders = orders.append_column("shop", pa.array(shop))
    seen = rng.permutation(n)[: n * 9 // 10]
    happened = due[seen] + rng.uniform(-3600, 36 * 3600, len(seen))
    deliveries = pa.table(
        {
            "event_id": ids.take(pa.array(seen)),
            "event_at": times(happened),
            "known_at": times(happened + rng.exponential(20_000, len(seen))),
            "shop": pa.array(shop[seen]),
            "delay": pa.array(rng.normal(size=len(seen)), mask=rng.random(len(seen)) < 0.1),
        }
    )
    hour = np.arange(0, DAYS * 86400, 3600.0)
    weather = pa.table(
        {
            "event_id": [f"w{i}" for i in range(len(hour))],
            "event_at": times(hour),
            "known_at": times(hour + 100),
            "shop": ["a"] * len(hour),
            "temp": pa.array(rng.integers(-5, 40, len(hour))),
            "sky": pa.array(rng.choice(["clear", "cloud"], len(hour))),
        }
    )
    return {"orders": orders, "deliveries": deliveries, "weather": weather}


def land(store: Store, name: str, rows: pa.Table) -> TableFiles:
    """Write the rows as Delta does: a directory a day, whose date the files themselves lack."""
    days = rows.column("event_at").cast(pa.date32())
    files = []
    for day in sorted(days.unique().to_pylist()):
        part = rows.filter(pa.compute.equal(days, pa.scalar(day, pa.date32())))
        sink = pa.BufferOutputStream()
        pq.write_table(part, sink)
        uri = store.lake("events", name, f"event_date={day}", "part-0.parquet")
        store.write(uri, sink.getvalue().to_pybytes())
        files.append(DataFile(uri, part.num_rows, sink.getvalue().size, (("event_date", str(day)),)))
    return TableFiles(rows.schema.append(pa.field("event_date", pa.date32())), tuple(files))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(StoreAddress(lake=str(tmp_path)))


def target_for(store: Store, tables: dict[str, TableFiles]) -> LakeTable:
    schemas = {name: table.schema for name, table in tables.items()}
    schema = examples_schema(spine=schemas["orders"], sources=schemas, features=FEATURES, label=LABEL)
    return LakeTable(store, "examples/orders", schema)


def build_all(store: Store, tables: dict[str, TableFiles], slices: int | None) -> list[pa.Table]:
    target = target_for(store, tables)
    written = build(
        target=target, spine=tables["orders"], sources=tables, features=FEATURES, label=LABEL, slices=slices
    )
    parts = [pq.read_table(f"{target.uri}/{w.path}", partitioning=None) for w in written]
    assert [w.rows for w in written] == [p.num_rows for p in parts]
    assert [w.size_bytes for w in written] == [Path(f"{target.uri}/{w.path}").stat().st_size for w in written]
    return parts


@pytest.mark.ray
@pytest.mark.parametrize("slices", [1, 2, 5, DAYS, None])
def test_the_examples_do_not_depend_on_how_many_slices_build_them(ray_cluster, store, slices):
    rows = world(seed=slices or 0)
    tables = {name: land(store, name, table) for name, table in rows.items()}
    parts = build_all(store, tables, slices)
    assert len(parts) == (slices or 1)
    whole = build_examples(
        spine=rows["orders"], sources=rows, features=FEATURES, label=LABEL, label_rows=rows["deliveries"]
    )
    assert pa.concat_tables(parts).equals(whole)
    # What the comparison rests on is there: labels, late ones, windows and latest rows, each with some absent.
    for name in ("label", "weather__temp", "shop__late_3d"):
        assert 0 < whole.column(name).null_count < whole.num_rows


@pytest.mark.ray
def test_a_source_without_files_gives_nulls_of_the_right_types(ray_cluster, store):
    rows = world(seed=3)
    tables = {name: land(store, name, table) for name, table in rows.items()}
    tables["weather"] = TableFiles(tables["weather"].schema)
    (examples,) = build_all(store, tables, 1)
    assert examples.schema.field("weather__sky").type == pa.string()
    assert examples.column("weather__sky").null_count == examples.num_rows > 0


@pytest.mark.ray
def test_a_file_older_than_a_column_reads_as_null(ray_cluster, store):
    rows = world(seed=4)
    rows["weather"] = rows["weather"].drop_columns(["sky"])
    tables = {name: land(store, name, table) for name, table in rows.items()}
    tables["weather"] = TableFiles(
        tables["weather"].schema.append(pa.field("sky", pa.string())), tables["weather"].files
    )
    (examples,) = build_all(store, tables, 1)
    assert examples.column("weather__sky").null_count == examples.num_rows
    assert examples.column("weather__temp").null_count < examples.num_rows


@pytest.mark.ray
def test_a_file_that_is_gone_is_named_in_an_error_of_our_own(ray_cluster, store):
    tables = {name: land(store, name, table) for name, table in world(seed=5).items()}
    gone = tables["weather"].files[0].uri
    Path(gone).unlink()
    with pytest.raises(Unavailable, match="not vacuumed") as error:
        build_all(store, tables, 2)
    assert gone in error.value.message


def test_a_view_that_does_not_fit_fails_before_there_is_a_cluster(store):
    tables = {name: land(store, name, table) for name, table in world(seed=6).items()}
    target = target_for(store, tables)
    features = FeaturesSpec.model_validate(FEATURES.model_dump(mode="json") | {"request": ["shopp"]})
    with pytest.raises(ConfigError, match="did you mean 'shop'"):
        build(target=target, spine=tables["orders"], sources=tables, features=features, label=LABEL, slices=2)


def test_no_spine_gives_no_files(store):
    tables = {name: land(store, name, table) for name, table in world(seed=7).items()}
    tables["orders"] = TableFiles(tables["orders"].schema)
    assert build_all(store, tables, 3) == []


def days(*rows: int) -> list[DataFile]:
    return [
        DataFile(f"f{i}", n, n, (("event_date", str((START + timedelta(days=i)).date())),)) for i, n in enumerate(rows)
    ]


def test_slices_are_contiguous_balanced_and_complete():
    files = days(5, 5, 0, 5, 40, 5, 5, 5, 10)
    groups = cut(list(reversed(files)), 4)
    assert [f for group in groups for f in group] == [f for f in files if f.rows]
    assert [sum(f.rows for f in group) for group in groups] == [15, 40, 5, 20]


def test_there_are_never_more_slices_than_files_with_rows():
    assert len(cut(days(1, 1, 0), 50)) == 2
    assert cut(days(0), 3) == []


def test_files_come_back_in_order_of_time_whichever_task_ends_first(store, monkeypatch):
    rows = world(seed=8)
    tables = {name: land(store, name, table) for name, table in rows.items()}
    monkeypatch.setattr(features_ray, "map_tasks", lambda function, tasks: (function(t) for t in reversed(tasks)))
    parts = build_all(store, tables, 3)
    assert pa.concat_tables(parts).column("event_id").equals(rows["orders"].column("event_id"))
