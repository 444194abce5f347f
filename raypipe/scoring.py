"""A bundle and a table give scores: the one function that evaluation, pyfunc, gateway and challenger share.

A row's score does not depend on the rows beside it (to 1e-6). Knows torch; does not know where either argument is from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from raypipe.bundle import Bundle
from raypipe.columns import Column
from raypipe.errors import BadRequest, BundleRefused
from raypipe.features.transforms import TransformState
from raypipe.training.model import build, wrong_shape


class Scorer:
    """A loaded model; scores tables, and never changes.

    Parameters
    ----------
    columns
        What a table must have.
    transforms
        From columns to the module's matrix.
    module
        In evaluation mode.
    """

    def __init__(self, columns: tuple[Column, ...], transforms: TransformState, module: nn.Module) -> None:
        self.columns = columns
        self._schema = pa.schema([pa.field(c.name, c.arrow) for c in columns])
        self._transforms = transforms
        self._module = module

    def score(self, table: pa.Table) -> np.ndarray:
        """Return the probability of the label for every row, in order.

        Parameters
        ----------
        table
            Has every column, in its type or one that casts to it without loss; others are ignored.

        Returns
        -------
        numpy.ndarray
            float64, shape (rows,), 0..1.

        Raises
        ------
        BadRequest
            When a column is missing or cannot be cast. Attributes: `column`.
        BundleRefused
            When the module gives anything but one logit for each row. Attributes: `found` and `expected`, the shapes.
        """
        if table.schema != self._schema:
            table = _conform(table, self.columns)
        matrix = self._transforms.apply(table)
        with torch.inference_mode():
            logits = self._module(torch.from_numpy(matrix))
            scores: np.ndarray = torch.sigmoid(logits.to(torch.float64)).numpy()
        if scores.shape != (table.num_rows,):
            raise BundleRefused(
                f"the model {wrong_shape(scores.shape, table.num_rows)}, then train it again",
                digest="",
                file="code",
                found=scores.shape,
                expected=(table.num_rows,),
            )
        return scores


def load(bundle: Bundle) -> Scorer:
    """Return the bundle's model, ready to score. Runs the bundle's code, if it has any.

    Raises
    ------
    BundleRefused
        When the weights are not those of the architecture.
    """
    module = build(bundle.architecture, len(bundle.transforms.inputs), bundle.code)
    try:
        module.load_state_dict({name: torch.from_numpy(np.array(w)) for name, w in bundle.weights.items()})
    except RuntimeError as error:
        raise BundleRefused(
            f"the weights of {bundle.name!r} are not those of its architecture: {error}", digest="", file="weights"
        ) from error
    module.eval()
    return Scorer(bundle.columns, bundle.transforms, module)


def _conform(table: pa.Table, columns: tuple[Column, ...]) -> pa.Table:
    names = set(table.column_names)
    arrays = []
    for column in columns:
        if column.name not in names:
            raise BadRequest(
                f"column {column.name!r} is missing: send it, with nulls where nothing is known; the model takes "
                f"{', '.join(f'{c.name} ({c.type})' for c in columns)}",
                column=column.name,
            )
        values = table.column(column.name)
        if values.type != column.arrow:
            values = _cast(values, column)
        arrays.append(values)
    return pa.Table.from_arrays(arrays, names=[c.name for c in columns])


def _cast(values: pa.ChunkedArray[Any], column: Column) -> pa.ChunkedArray[Any]:
    try:
        # Below a microsecond a timestamp says nothing to a model; every other loss is the caller's to decide.
        return values.cast(column.arrow, safe=column.type != "timestamp")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BadRequest(
            f"column {column.name!r} holds {values.type}, the model takes {column.type}: {error}", column=column.name
        ) from error
