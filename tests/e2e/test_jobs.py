"""The main path as a Ray job, submitted with Ray's own command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from trips import make_trips

from raypipe.adapters.lake.decisions import Decisions
from raypipe.local.ray_part import ray_temp_dir, socket_dir

pytestmark = pytest.mark.e2e
PACKAGE_BYTES = 5_000_000


def submit(platform, *entrypoint):
    """Return how `ray job submit` ended, called as docs/platform.md says."""
    variables = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(platform.home / "secrets" / "ray_token"),
        "RAY_ADDRESS": platform.endpoints.dashboard_url,
    }
    # The home and the environment are the cluster's to know, not the submitter's to repeat.
    env = {k: v for k, v in platform.variables.items() if k != "RAYPIPE_HOME"} | variables
    ray = Path(sys.executable).with_name("ray")
    command = [str(ray), "job", "submit", "--working-dir", ".", "--submission-id", "jobs-1", "--", *entrypoint]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=200)


def test_a_job_runs_the_pipeline_once_from_a_small_package(platform, store, tmp_path):
    trips = make_trips(tmp_path / "jobs", store, "jobs", days=2)
    entrypoint = ("python", "jobs/pipeline.py", "--config", str(trips.file))
    result = submit(platform, *entrypoint)
    assert result.returncode == 0, (result.stdout + result.stderr)[-5000:]
    assert "Job 'jobs-1' succeeded" in result.stdout + result.stderr
    assert "version 1: " in result.stdout
    assert [d.what for d in Decisions(store).stream("release/jobs")] == ["plan", "adopt", "succeed"]

    session = ray_temp_dir(platform.home, socket_dir(platform.home)) / "session_latest"
    (package,) = (p for p in session.glob("runtime_resources/working_dir_files/_ray_pkg_*") if p.is_dir())
    packaged = {f.relative_to(package).as_posix(): f.stat().st_size for f in package.rglob("*") if f.is_file()}
    tops = {name.partition("/")[0] for name in packaged}
    assert {"raypipe", "jobs", "configs"} <= tops
    assert not tops & {".git", ".venv", ".raypipe", "tests", "docs"}
    assert sum(packaged.values()) < PACKAGE_BYTES, sorted(packaged, key=packaged.__getitem__)[-5:]

    again = submit(platform, *entrypoint)
    assert again.returncode != 0
    assert "Job with submission_id jobs-1 already exists. Please use a different submission_id." in again.stderr
    assert len(Decisions(store).stream("release/jobs")) == 3
