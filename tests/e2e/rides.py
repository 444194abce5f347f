"""The pipeline of `test_run.py`, and everything that can be asked about it."""

from __future__ import annotations

import requests
from deltalake import DeltaTable
from mlflow import MlflowClient
from trips import make_trips

from raypipe.adapters.lake.bundles import LakeBundles
from raypipe.adapters.lake.decisions import Decisions
from raypipe.protocol import oip

NAME, DAYS = "rides", 3


class Rides:
    """The pipeline of this module and everything that can be asked about it."""

    def __init__(self, platform, store, root):
        self.trips = make_trips(root, store, NAME, days=DAYS)
        self.store, self.where, self.env = store, platform.endpoints, str(platform.env_file)
        self.mlflow = MlflowClient(self.where.mlflow_uri)
        self.decisions = Decisions(store)

    def arguments(self, *overrides, command="run"):
        return [command, str(self.trips.file), "--env", self.env, *[part for o in overrides for part in ("--set", o)]]

    def table(self, name):
        return DeltaTable(self.store.lake(name), storage_options=self.store.delta_options())

    def events(self, source):
        return self.table(f"events/{NAME}_{source}").to_pyarrow_table()

    def letters(self):
        rows = self.table("dead_letters").to_pyarrow_table().to_pylist()
        return [r for r in rows if r["source"].startswith(f"{NAME}_")]

    def words(self, stream):
        return [d.what for d in self.decisions.stream(stream)]

    def versions(self):
        found = self.mlflow.search_model_versions(f"name = '{NAME}'")
        return {v.version: v for v in found}

    @property
    def champion(self):
        return self.mlflow.get_model_version_by_alias(NAME, "champion").version

    @property
    def runs(self):
        experiment = self.mlflow.get_experiment_by_name(NAME)
        return self.mlflow.search_runs([experiment.experiment_id])

    def bundle(self):
        tag = self.versions()[self.champion].tags["raypipe.bundle"]
        return LakeBundles(self.store).get(tag)

    def url(self, version=None):
        pinned = f"/versions/{version}" if version else ""
        return f"{self.where.serve_url}/v2/models/{NAME}{pinned}"

    def infer(self, version=None):
        bundle = self.bundle()
        answer = requests.post(f"{self.url(version)}/infer", data=oip.infer_body(bundle.example, bundle.columns))
        assert answer.status_code == 200, answer.text
        return answer.json()
