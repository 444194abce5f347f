"""The same examples and a model by raypipe's own code, without Ray: contracts, features, transforms, model, scoring.

Every step is the function that the pipeline runs on its workers. Knows configs/flights/pipeline.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import torch

from configs.flights import nyc
from raypipe.columns import Column, column_type
from raypipe.config import Pipeline
from raypipe.contracts.checks import check
from raypipe.contracts.contract import Contract
from raypipe.contracts.events import event_columns
from raypipe.features.examples import build_examples
from raypipe.features.transforms import fit
from raypipe.profile import Profile
from raypipe.scoring import Scorer
from raypipe.training.model import build, learning_rate, train_epoch


def accepted_rows(contracts: Mapping[str, Contract], last: date) -> dict[str, pa.Table]:
    """Return the rows of each source until `last` that keep its contract, with identity and times."""
    return {
        source: event_columns(
            check(frame.drop("landed_on").to_arrow(), contracts[source]).accepted,
            contracts[source],
            datetime(2014, 1, 3, tzinfo=UTC),
        )
        for source, frame in nyc.frames(nyc.FIRST, last).items()
    }


def our_examples(pipeline: Pipeline, last: date = nyc.LAST) -> pa.Table:
    """Return one example for each flight scheduled until `last` (UTC day), in order of the natural key."""
    rows = accepted_rows(pipeline.contracts, last)
    spine = rows[pipeline.spec.features.spine]
    key = pipeline.contracts[pipeline.spec.features.spine].key
    return build_examples(
        spine=spine.sort_by([(name, "ascending") for name in key]),
        sources=rows,
        features=pipeline.spec.features,
        label=pipeline.spec.label,
        label_rows=rows[pipeline.spec.label.source],
    )


def ours(examples: pa.Table, train: np.ndarray, pipeline: Pipeline, seed: int) -> np.ndarray:
    """Return the score of every example by the pipeline's model, trained on those that `train` marks.

    Parameters
    ----------
    examples
        As `build_examples` returns them.
    train
        bool, shape (rows,); marked examples have a label.
    seed
        Of weights, dropout and row order.

    Returns
    -------
    numpy.ndarray
        float64, shape (rows,), 0..1.
    """
    spec = pipeline.spec
    columns = tuple(Column(n, column_type(examples.schema.field(n).type)) for n in spec.features.feature_names)
    learned = examples.filter(pa.array(train))
    transforms = fit(Profile.of(learned, columns), columns, spec.features.time_zone)
    x = torch.from_numpy(transforms.apply(learned))
    y = torch.from_numpy(learned.column("label").to_numpy().astype(np.float32))
    module = build(spec.training.model, len(transforms.inputs), seed=seed)
    optimizer = torch.optim.AdamW(module.parameters(), lr=spec.training.model.learning_rate)
    order = torch.Generator().manual_seed(seed)
    for epoch in range(spec.training.model.epochs):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(spec.training.model, epoch)
        batches = torch.split(torch.randperm(len(y), generator=order), spec.training.model.batch_size)
        train_epoch(module, optimizer, ((x[i], y[i]) for i in batches), seed=seed * 1_000 + epoch)
    module.eval()
    return Scorer(columns, transforms, module).score(examples)
