"""The table of training examples, brought up to date with the events it is built from.

Equal snapshots and an equal spec give the same examples, so what an earlier run committed is found by its inputs'
digest and not built again. Knows tables and generations; the join is `features_ray`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict

from raypipe.adapters import features_ray
from raypipe.adapters.lake.catalog import events_table, examples_table
from raypipe.adapters.lake.files import TableFiles
from raypipe.adapters.lake.store import Store
from raypipe.config import Pipeline
from raypipe.errors import RaypipeError
from raypipe.features.examples import examples_schema
from raypipe.snapshot import Snapshot
from raypipe.telemetry import event

# Change it when the same inputs no longer give the same examples.
_JOIN = 1


class RayFeatures:
    """Examples of pipelines, built on the Ray cluster that the process is connected to."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def build(self, pipeline: Pipeline, snapshots: Mapping[str, Snapshot]) -> Snapshot:
        """Return the version of the examples table that these snapshots and this spec give.

        Raises
        ------
        ConfigError
            When a view or the label does not fit its source.
        GenerationMoved
            When another run builds the same table at the same time.
        RaypipeError
            When there is not one spine row.
        """
        spec = pipeline.spec
        tables = {name: self._files(pipeline, name, snapshot) for name, snapshot in snapshots.items()}
        spine = tables[spec.features.spine]
        if not any(f.rows for f in spine.files):
            raise RaypipeError(
                f"the spine `{spec.features.spine}` has no accepted row, so there is no example to build: look at its "
                "dead letters",
                source=spec.features.spine,
            )
        schemas = {name: table.schema for name, table in tables.items()}
        schema = examples_schema(spine=spine.schema, sources=schemas, features=spec.features, label=spec.label)
        target = examples_table(self._store, spec.name, schema)
        stream, digest = f"examples/{spec.name}", _digest(pipeline, snapshots)
        if (target.metadata(stream) or {}).get("inputs") == digest:
            found = target.snapshot()
            event("features", f"{found.rows:,} examples are up to date")
            return found
        files = features_ray.build(target=target, spine=spine, sources=tables, features=spec.features, label=spec.label)
        generation = target.generation(stream) + 1
        target.commit(files, app_id=stream, generation=generation, overwrite=True, metadata={"inputs": digest})
        made = target.snapshot()
        names = ", ".join(v.name for v in spec.features.views) or "none"
        event("features", f"{made.rows:,} examples, {len(spec.features.feature_names)} features (views: {names})")
        return made

    def _files(self, pipeline: Pipeline, name: str, snapshot: Snapshot) -> TableFiles:
        table = events_table(self._store, name, pipeline.contracts[name])
        return TableFiles(table.schema, table.files(snapshot.version) if snapshot.version >= 0 else ())


def _digest(pipeline: Pipeline, snapshots: Mapping[str, Snapshot]) -> str:
    specs = pipeline.spec.model_dump(mode="json", by_alias=True, include={"features", "label"})
    contracts = {name: contract.digest for name, contract in sorted(pipeline.contracts.items())}
    inputs = [_JOIN, specs, contracts, {name: asdict(s) for name, s in sorted(snapshots.items())}]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
