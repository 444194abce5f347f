"""A bundle's inputs in MLflow's types: the signature and the example of a logged model."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema

from raypipe.bundle import Bundle

_TYPES = {"string": "string", "int64": "long", "float64": "double", "bool": "boolean", "timestamp": "datetime"}


def signature(bundle: Bundle) -> ModelSignature:
    """Return the model's columns as MLflow types them; a value that is not known is null."""
    inputs = Schema([ColSpec(_TYPES[c.type], c.name, required=False) for c in bundle.columns])
    return ModelSignature(inputs, Schema([ColSpec("double", bundle.label)]))


def example(bundle: Bundle) -> pd.DataFrame:
    """Return the example as MLflow types it: its `datetime` is UTC without saying so."""
    naive = [pa.field(c.name, pa.timestamp("us") if c.type == "timestamp" else c.arrow) for c in bundle.columns]
    frame: pd.DataFrame = bundle.example.cast(pa.schema(naive)).to_pandas()
    return frame
