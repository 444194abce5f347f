"""The examples of a training on a Ray cluster: profiled, turned into matrices and scored where they lie.

Tasks know only a file's URI and read it themselves, so rows meet the driver only as sums, times and scores. Knows Ray
Data and the store; what is computed per file are pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial, reduce
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data

from raypipe import scoring
from raypipe.adapters.lake.store import Store
from raypipe.adapters.ray_map import map_tasks, quiet
from raypipe.bundle import Bundle, digest_of, pack, unpack
from raypipe.columns import Column, column_type
from raypipe.errors import RaypipeError
from raypipe.features.transforms import TransformState
from raypipe.profile import SCORE, Profile
from raypipe.stats.metrics import binary_metrics
from raypipe.training.split import cut_at, training_rows, validation_rows
from raypipe.training.validation import Scored

_EXAMPLE_ROWS = 5


@dataclass(frozen=True, slots=True)
class Examples:
    """Files of one version of a training table.

    Parameters
    ----------
    uris
        Parquet files, in a fixed order.
    columns
        The model's inputs, in order.
    """

    store: Store
    uris: tuple[str, ...]
    columns: tuple[Column, ...]

    @staticmethod
    def of(store: Store, uris: Sequence[str], names: Sequence[str]) -> Examples:
        """Return the examples in these files; the columns' types are those of the first.

        Raises
        ------
        RaypipeError
            When there are no files.
        """
        if not uris:
            raise RaypipeError("there are no training examples: ingest rows of the spine first")
        schema = store.read_schema(uris[0])
        return Examples(store, tuple(uris), tuple(Column(n, column_type(schema.field(n).type)) for n in names))

    def read(self, uri: str, names: Sequence[str] | None = None) -> pa.Table:
        """Return one file's rows: the inputs in their types, clocks, label and event id; or only those named."""
        inputs = [c.name for c in self.columns]
        wanted = list(names or ("event_id", "prediction_at", "known_at", "label", *inputs))
        table = self.store.read_parquet(uri, wanted)
        types = {c.name: c.arrow for c in self.columns}
        return table.select(wanted).cast(pa.schema([(n, types.get(n, table.schema.field(n).type)) for n in wanted]))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a bundle did on rows it has not seen.

    Parameters
    ----------
    rows, positives
        Labelled rows, and those whose label is 1.
    metrics
        By name; None where nothing can be told.
    scores
        Profile of the scores: what live ones are compared with.
    """

    rows: int
    positives: int
    metrics: Mapping[str, float | None]
    scores: Profile


def evaluate(examples: Examples, bundle: Bundle, cut: datetime) -> Evaluation:
    """Return how the bundle does on the labelled rows predicted at `cut` or later, scored on the cluster.

    Raises
    ------
    BundleRefused
        When the bundle's weights are not those of its architecture.
    """
    score = partial(_score_file, examples=examples, files=pack(bundle), cut=cut)
    parts = sorted(map_tasks(score, examples.uris), key=lambda part: part[0])
    labels = np.concatenate([part[1] for part in parts])
    scores = np.concatenate([part[2] for part in parts])
    profile = Profile.of(pa.table({SCORE: pa.array(scores)}))
    return Evaluation(len(labels), int(labels.sum()), binary_metrics(labels, scores, bundle.threshold), profile)


def cut_of(examples: Examples, validation_rate: float, before: datetime | None = None) -> datetime:
    """Return the time that splits the labelled rows, or those that train at `before`; eight bytes a row come here."""
    with ThreadPoolExecutor(4) as pool:
        tables = pool.map(partial(examples.read, names=("prediction_at", "known_at", "label")), examples.uris)
        chosen = (training_rows(t, before) if before else t.filter(t.column("label").is_valid()) for t in tables)
        times = pa.concat_tables(t.select(["prediction_at"]) for t in chosen)
    try:
        return cut_at(times.column("prediction_at"), validation_rate)
    except ValueError as error:
        raise RaypipeError(str(error)) from error


def profile_of(examples: Examples, cut: datetime) -> tuple[Profile, pa.Table]:
    """Return the profile of the training rows, and a few of them."""
    found = sorted(map_tasks(partial(_profile_file, examples=examples, cut=cut), examples.uris), key=lambda p: p[0])
    # In the order of the files: the sum of moments depends on order in its last bits.
    profile = reduce(Profile.merge, (p for _, p, _ in found), Profile.empty())
    if not profile.rows:
        raise RaypipeError(
            f"no label before {cut:%Y-%m-%d %H:%M}Z was known by then, so no row can train: ingest a longer period, or "
            "lower `training.split.validation`"
        )
    return profile, pa.concat_tables(rows for _, _, rows in found).slice(0, _EXAMPLE_ROWS)


def _profile_file(uri: str, examples: Examples, cut: datetime) -> tuple[str, Profile, pa.Table]:
    rows = training_rows(examples.read(uri), cut).select([c.name for c in examples.columns])
    whole = rows.drop_null()
    # Some clients cannot express a null, so an example without any is worth more.
    return uri, Profile.of(rows), (whole if whole.num_rows else rows).slice(0, _EXAMPLE_ROWS)


def _score_file(
    uri: str, examples: Examples, files: Mapping[str, bytes], cut: datetime
) -> tuple[str, np.ndarray, np.ndarray]:
    rows = validation_rows(examples.read(uri), cut)
    if not rows.num_rows:
        return uri, np.zeros(0), np.zeros(0)
    scorer = scoring.load(unpack(files, digest_of(files)))
    return uri, rows.column("label").to_numpy(), scorer.score(rows)


def compare(
    examples: Examples, candidate: Bundle, champion: Bundle, cut: datetime, *, version: str, slices: Sequence[str]
) -> Scored:
    """Return both bundles' scores on the labelled rows predicted at `cut` or later, in one pass over the files.

    Parameters
    ----------
    version
        The champion's.
    slices
        Columns whose values are returned beside the scores.

    Raises
    ------
    BadRequest
        When the examples lack a column of the champion.
    """
    task = partial(
        _score_file_twice, examples=examples, files=(pack(candidate), pack(champion)), cut=cut, slices=tuple(slices)
    )
    parts = sorted(map_tasks(task, examples.uris), key=lambda part: part[0])
    arrays = [np.concatenate([part[1][i] for part in parts]) for i in range(3 + len(slices))]
    thresholds = candidate.threshold, champion.threshold
    return Scored(version, arrays[0], arrays[1], arrays[2], thresholds, dict(zip(slices, arrays[3:], strict=True)))


def _score_file_twice(
    uri: str,
    examples: Examples,
    files: tuple[Mapping[str, bytes], Mapping[str, bytes]],
    cut: datetime,
    slices: tuple[str, ...],
) -> tuple[str, list[np.ndarray]]:
    rows = validation_rows(examples.read(uri), cut)
    if not rows.num_rows:
        return uri, [np.zeros(0)] * 3 + [np.zeros(0, object)] * len(slices)
    scores = [scoring.load(unpack(f, digest_of(f))).score(rows) for f in files]
    values = [np.array([str(v) for v in rows.column(c).to_pylist()], object) for c in slices]
    return uri, [rows.column("label").to_numpy(), *scores, *values]


def held_out_of(
    examples: Examples, inner: datetime, outer: datetime, transforms: TransformState
) -> tuple[np.ndarray, np.ndarray]:
    """Return (x, y) of the rows that train at `outer` and are predicted at `inner` or later."""
    task = partial(_held_out_file, examples=examples, inner=inner, outer=outer, transforms=transforms)
    parts = sorted(map_tasks(task, examples.uris), key=lambda part: part[0])
    return np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])


def _held_out_file(
    uri: str, examples: Examples, inner: datetime, outer: datetime, transforms: TransformState
) -> tuple[str, np.ndarray, np.ndarray]:
    rows = validation_rows(training_rows(examples.read(uri), outer), inner)
    return uri, transforms.apply(rows), rows.column("label").to_numpy().astype(np.float32)


def matrices_of(examples: Examples, cut: datetime, transforms: TransformState) -> ray.data.Dataset:
    """Return the training rows as (x, y) in the cluster's object store, in the order of the files."""
    dataset = ray.data.from_items([{"uri": uri} for uri in examples.uris], override_num_blocks=len(examples.uris))
    quiet(dataset.context)
    dataset.context.execution_options.preserve_order = True
    options = {"examples": examples, "cut": cut, "transforms": transforms}
    matrix: Any = _matrix
    matrices: ray.data.Dataset = dataset.map_batches(
        matrix, batch_size=1, batch_format="numpy", fn_kwargs=options
    ).materialize()
    return matrices


def _matrix(
    batch: dict[str, np.ndarray], examples: Examples, cut: datetime, transforms: TransformState
) -> dict[str, np.ndarray]:
    rows = pa.concat_tables(training_rows(examples.read(uri), cut) for uri in batch["uri"])
    return {"x": transforms.apply(rows), "y": rows.column("label").to_numpy().astype(np.float32)}
