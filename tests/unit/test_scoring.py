"""One row, one score: whatever rows stand beside it, and wherever the bundle was loaded."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import bundles
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe import scoring
from raypipe.adapters.pyfunc import _load_pyfunc
from raypipe.bundle import digest_of, pack, unpack
from raypipe.errors import BadRequest, BundleRefused

SCORER = scoring.load(bundles.make())
ROWS = bundles.rows(300, seed=5)
SCORES = SCORER.score(ROWS)


@given(st.lists(st.integers(0, 299), min_size=1, max_size=80))
def test_a_score_does_not_depend_on_the_rows_beside_it(chosen: list[int]) -> None:
    assert np.abs(SCORER.score(ROWS.take(chosen)) - SCORES[chosen]).max() < 1e-6


def test_scores_are_probabilities_that_differ() -> None:
    assert SCORES.dtype == np.float64
    assert SCORES.shape == (300,)
    assert ((SCORES > 0) & (SCORES < 1)).all()
    assert len(np.unique(SCORES)) > 200


def test_no_rows_have_no_scores() -> None:
    assert SCORER.score(ROWS.slice(0, 0)).shape == (0,)


def test_a_packed_bundle_scores_alike() -> None:
    files = pack(bundles.make())
    assert np.array_equal(scoring.load(unpack(files, digest_of(files))).score(ROWS), SCORES)


def test_the_users_own_model_scores_from_its_packed_source(tmp_path: Path) -> None:
    bundle = bundles.make(bundles.entrypoint(tmp_path))
    files = pack(bundle)
    scores = scoring.load(unpack(files, digest_of(files))).score(ROWS)
    assert np.array_equal(scores, scoring.load(bundle).score(ROWS))
    assert "my_model" not in sys.modules


@pytest.mark.parametrize(
    ("squeeze", "n", "found"), [("squeeze()", 1, ()), ("clone()", 1, (1, 1)), ("clone()", 5, (5, 1)), ("mean()", 5, ())]
)
def test_a_model_that_gives_anything_but_one_score_a_row_is_refused_with_both_shapes(
    tmp_path: Path, squeeze: str, n: int, found: tuple[int, ...]
) -> None:
    scorer = scoring.load(bundles.make(bundles.entrypoint(tmp_path, bundles.PARTS.replace("squeeze(-1)", squeeze))))
    with pytest.raises(BundleRefused, match=r"expected \(\d,\): let it map inputs .* `\.squeeze\(-1\)`") as refused:
        scorer.score(ROWS.slice(0, n))
    assert (refused.value.found, refused.value.expected) == (found, (n,))


@pytest.mark.parametrize("column", [c.name for c in bundles.COLUMNS])
def test_a_missing_column_is_a_bad_request_that_names_it(column: str) -> None:
    with pytest.raises(BadRequest, match=f"column '{column}' is missing") as refused:
        SCORER.score(ROWS.drop_columns([column]))
    assert refused.value.column == column


def test_other_columns_and_their_order_do_not_matter() -> None:
    shuffled = ROWS.select(ROWS.column_names[::-1]).append_column("more", pa.array(range(300)))
    assert np.array_equal(SCORER.score(shuffled), SCORES)


def test_columns_of_other_types_are_cast_where_nothing_is_lost() -> None:
    at = ROWS.schema.get_field_index("at")
    table = ROWS.set_column(at, "at", ROWS["at"].cast(pa.timestamp("ns", "UTC")))
    table = table.set_column(1, "n", table["n"].cast(pa.float64()))
    assert np.array_equal(SCORER.score(table), SCORES)


def test_a_column_that_cannot_be_cast_is_a_bad_request_with_both_types() -> None:
    table = ROWS.set_column(0, "x", pa.array(["much"] * 300))
    with pytest.raises(BadRequest, match="column 'x' holds string, the model takes float64"):
        SCORER.score(table)


def test_weights_of_another_architecture_are_refused() -> None:
    bundle = bundles.make()
    with pytest.raises(BundleRefused, match="not those of its architecture"):
        scoring.load(replace(bundle, weights={"wrong": np.zeros(3, np.float32)}))


def write(directory: Path) -> Path:
    root = directory / "bundle"
    for name, data in pack(bundles.make()).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_a_pyfunc_verifies_every_file_it_loads(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "profile.json").write_text("{}")
    with pytest.raises(BundleRefused, match=r"profile\.json"):
        _load_pyfunc(str(root))


@pytest.mark.filterwarnings("default")
def test_mlflow_loads_and_scores_the_bundle_without_a_pickle(tmp_path: Path) -> None:
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    types = {"string": "string", "int64": "long", "float64": "double", "bool": "boolean", "timestamp": "datetime"}
    inputs = Schema([ColSpec(types[c.type], c.name, required=False) for c in bundles.COLUMNS])
    # MLflow takes times without a zone only; they are UTC.
    example = ROWS.drop_null().slice(0, 5).to_pandas()
    example["at"] = example["at"].dt.tz_localize(None)
    model = tmp_path / "model"
    mlflow.pyfunc.save_model(
        str(model),
        loader_module="raypipe.adapters.pyfunc",
        data_path=str(write(tmp_path)),
        input_example=example,
        signature=ModelSignature(inputs, Schema([ColSpec("double", "late")])),
        pip_requirements=["raypipe"],
    )
    found = mlflow.pyfunc.load_model(str(model)).predict(example)
    assert np.allclose(found, SCORER.score(ROWS.drop_null().slice(0, 5)), atol=1e-6)
    assert not [p for p in model.rglob("*") if p.suffix in {".pkl", ".pickle", ".pt", ".pth", ".joblib"}]
