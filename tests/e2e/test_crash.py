"""The run is killed with SIGKILL at every boundary, and run again: the end is the one of a run that was never killed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from deltalake import DeltaTable
from mlflow import MlflowClient
from trips import make_trips

from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.store import Store
from raypipe.decision import verify

pytestmark = pytest.mark.e2e
LISTED = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)


class Killable:
    """The command line in children of one process, which kills them where they stop."""

    def __init__(self, platform, root):
        self.boundaries = root / "boundaries.txt"
        self.output = root / "output.txt"
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("killable.py"), str(platform.env_file), str(self.output)],
            env=platform.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def run(self, arguments, stop_at=None):
        request = {"arguments": arguments, "stop_at": stop_at, "boundaries": str(self.boundaries)}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def reached(self):
        lines = self.boundaries.read_text().splitlines()
        self.boundaries.unlink()
        return lines


@pytest.fixture
def killable(platform, tmp_path):
    made = Killable(platform, tmp_path)
    yield made
    made.process.stdin.close()
    assert made.process.wait(10) == 0


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
def test_killed_at_every_boundary_and_run_again_nothing_is_lost_and_nothing_is_twice(platform, killable, tmp_path):
    store = Store(platform.endpoints.store)
    control = make_trips(tmp_path / "a", store, "whole", days=2)
    victim = make_trips(tmp_path / "b", store, "killed", days=2)
    assert killable.run(arguments(control, platform))["code"] == 0, killable.output.read_text()[-3000:]
    points = list(dict.fromkeys(p.replace("whole", "killed") for p in killable.reached()))
    expected = end_of(control, platform)

    for point in points:
        result = killable.run(arguments(victim, platform), stop_at=point)
        assert result["killed"], f"no run stopped at {point!r}: {result}\n{killable.output.read_text()[-3000:]}"
    assert killable.run(arguments(victim, platform))["code"] == 0, killable.output.read_text()[-3000:]
    found = end_of(victim, platform)
    for part, rows in expected.items():
        assert found[part] == rows, part

    effects = {p.removeprefix("before ").partition(":")[0].replace("killed", "*") for p in points if "before" in p}
    listed = set(LISTED.findall(Path("docs/crash.md").read_text()))
    assert {re.sub(r"(events|examples)/.*", r"\1/*", e) for e in effects} == listed
