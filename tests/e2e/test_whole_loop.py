"""The demonstration, small: every act does what it is there to show, and what it prints is true.

Last in its directory: the retraining that its monitor may start goes on in the background.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest

from raypipe.adapters.lake.decisions import Decisions
from raypipe.decision import verify

pytestmark = pytest.mark.e2e
NAME = "flights"


@pytest.mark.timeout(600)
def test_the_demonstration_promotes_or_refuses_the_honest_candidate_and_stops_the_broken_one(platform, store):
    command = [sys.executable, "configs/flights/demo.py", "--fast", "--env", str(platform.env_file)]
    played = subprocess.run(command, env=platform.variables, capture_output=True, text=True, check=False)
    assert played.returncode == 0, (played.stdout + played.stderr)[-5000:]
    assert "search    reusing the hyperparameters of version 1" in played.stderr
    told = [line for line in played.stdout.splitlines() if line.startswith("users: ")]
    assert told
    assert all(" requests, 0 errors, " in line for line in told), told

    decisions = Decisions(store).stream(f"release/{NAME}")
    verify(decisions)
    candidates = {d.generation: json.loads(d.evidence)["state"]["candidate"]["version"] for d in decisions}
    last = decisions[-1]
    assert (last.what, candidates[last.generation]) == ("abort", "3"), "the broken copy was not stopped"
    assert "above the margin 0.01" in last.why
    (looked,) = Decisions(store).stream(f"monitor/{NAME}")
    assert looked.why in " ".join(played.stdout.split())
    assert json.loads(looked.evidence)["labels"] > 0
    for source in ("schedules", "departures", "arrivals", "weather"):
        counts = [json.loads(d.evidence) for d in Decisions(store).stream(f"ingest/{source}")]
        shown = f"{sum(c['rows'] for c in counts):,} │ {sum(c['accepted'] for c in counts):,}"
        assert " ".join(shown.split()) in " ".join(played.stdout.split()), f"{source}: {shown}"

    curl = [line for line in played.stdout.splitlines() if line.startswith("curl ")][-1]
    answer = subprocess.run(shlex.split(curl), capture_output=True, text=True, check=True).stdout
    assert 0 < json.loads(answer)["predictions"][0] < 1
