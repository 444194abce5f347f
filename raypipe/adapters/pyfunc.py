"""The MLflow loader of a bundle: `loader_module="raypipe.adapters.pyfunc"`, data path a directory of bundle files.

Lets every tool that speaks MLflow score with the function that serves. Knows MLflow's calling convention only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from raypipe import scoring
from raypipe.bundle import MANIFEST, load_bundle


class PyfuncModel:
    """A bundle that answers MLflow's `predict`."""

    def __init__(self, scorer: scoring.Scorer) -> None:
        self._scorer = scorer

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, object] | None = None) -> np.ndarray:
        """Return a probability for every row, float64 (n,).

        Raises
        ------
        BadRequest
            When a column is missing or cannot be cast.
        """
        return self._scorer.score(pa.Table.from_pandas(model_input, preserve_index=False))


def _load_pyfunc(data_path: str) -> PyfuncModel:
    """Return the model whose files lie in `data_path`, each verified against the manifest there.

    The manifest itself is taken as found: whoever knows the registered digest compares it (`raypipe.bundle`).
    """
    digest = hashlib.sha256((Path(data_path) / MANIFEST).read_bytes()).hexdigest()
    return PyfuncModel(scoring.load(load_bundle(lambda path: Path(path).read_bytes(), data_path, digest)))
