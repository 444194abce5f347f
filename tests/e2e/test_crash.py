"""The run is killed with SIGKILL at every boundary, and run again: the end is the one of a run that was never killed."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from deltalake import DeltaTable
from mlflow import MlflowClient
from trips import make_trips

from raypipe.adapters.lake.decisions import Decisions
from raypipe.decision import verify

LISTED = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)


def arguments(trips, platform):
    return ["run", str(trips.file), "--env", str(platform.env_file)]


def end_of(trips, platform):
    """Return what a pipeline has left behind, with nothing in it that names the pipeline or the time."""
    store = trips.store
    tables = {}
    events = (f"events/{trips.name}_trips", f"events/{trips.name}_ends")
    for table in (*events, "dead_letters", f"examples/{trips.name}", "manifests"):
        rows = DeltaTable(store.lake(table), storage_options=store.delta_options()).to_pyarrow_table().to_pylist()
        ours = [r for r in rows if trips.landing in (r.get("source_position") or r.get("uri") or trips.landing)]
        kept = {"event_id", "event_at", "raw", "reasons", "label", "prediction_at", "town__minutes_1d", "generation"}
        tables[table.replace(trips.name, "*")] = Counter(
            json.dumps({k: v for k, v in r.items() if k in kept}, sort_keys=True, default=str) for r in ours
        )
    client = MlflowClient(platform.endpoints.mlflow_uri)
    versions = client.search_model_versions(f"name = '{trips.name}'")
    champion = client.get_model_version_by_alias(trips.name, "champion").version
    decisions = Decisions(store)
    streams = {s: decisions.stream(s) for s in decisions.streams() if trips.name in s}
    for stream in streams.values():
        verify(stream)
    words = {s.replace(trips.name, "*"): [d.what for d in stream] for s, stream in streams.items()}
    return {**tables, "versions": [v.version for v in versions], "champion": champion, "decisions": words}


@pytest.mark.timeout(500)
def test_killed_at_every_boundary_and_run_again_nothing_is_lost_and_nothing_is_twice(platform, store, warm, tmp_path):
    control = make_trips(tmp_path / "a", store, "whole", days=2)
    victim = make_trips(tmp_path / "b", store, "killed", days=2)
    whole = warm.run(*arguments(control, platform))
    assert whole.returncode == 0, whole.stdout
    points = [p.replace("whole", "killed") for p in warm.reached()]
    expected = end_of(control, platform)

    # What comes after one effect comes before the next, with nothing durable between: each such place once.
    for point in (*[p for p in points if p.startswith("before ")], points[-1]):
        killed = warm.run(*arguments(victim, platform), stop_at=point)
        assert killed.returncode is None, f"no run stopped at {point!r}: {killed.stdout}"
    last = warm.run(*arguments(victim, platform))
    assert last.returncode == 0, last.stdout
    found = end_of(victim, platform)
    for part, rows in expected.items():
        assert found[part] == rows, part

    effects = {p.removeprefix("before ").partition(":")[0].replace("killed", "*") for p in points if "before" in p}
    listed = set(LISTED.findall(Path("docs/crash.md").read_text().partition("A replay or a drop")[0]))
    assert {re.sub(r"(events|examples)/.*", r"\1/*", e) for e in effects} == listed
