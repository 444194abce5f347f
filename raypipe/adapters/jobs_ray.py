"""Retrainings as jobs of the Ray cluster, by its Jobs API: one id is one job, however often it is asked for."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.job_submission import JobStatus, JobSubmissionClient

from raypipe.boundary import boundary
from raypipe.environment import SecretRef
from raypipe.errors import Unavailable

_EXCLUDED = [".git", ".venv", ".raypipe", "tests", "docs", "benchmarks/results"]


class RayJobs:
    """Fulfils `ports.Jobs`.

    Parameters
    ----------
    dashboard_url
        Where the Jobs API is.
    token
        Ray's token; read at every use.
    env
        Environment that the runs are told; None lets them find the one in force.
    """

    def __init__(self, dashboard_url: str, token: SecretRef | None, env: str | None) -> None:
        self._url, self._token, self._env = dashboard_url, token, env

    def running(self, name: str) -> str | None:
        """Return a retraining of this model that has not ended; None when there is none."""
        with self._client() as client:
            jobs = client.list_jobs()
        ours = (j for j in jobs if (j.submission_id or "").startswith(f"retrain-{name}-"))
        return next((str(j.submission_id) for j in ours if not JobStatus(j.status).is_terminal()), None)

    def submit(self, job_id: str, config: str, overrides: Sequence[str] = ()) -> None:
        """Start a run of the pipeline under this id, with these changes; one that is known is not started twice."""
        with self._client() as client:
            if any(j.submission_id == job_id for j in client.list_jobs()):
                return
            path = Path(config)
            named = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
            with boundary(f"submit job: {job_id}"):
                client.submit_job(
                    entrypoint=command_of(str(named), self._env, overrides),
                    submission_id=job_id,
                    runtime_env={"working_dir": str(Path.cwd()), "excludes": _EXCLUDED},
                )

    @contextmanager
    def _client(self) -> Iterator[Any]:
        for talkative in ("ray", "ray.dashboard.modules.dashboard_sdk"):  # packaging tells at length what it does
            logging.getLogger(talkative).setLevel(logging.ERROR)
        headers = {"Authorization": f"Bearer {self._token.read()}"} if self._token else {}
        try:
            yield JobSubmissionClient(self._url, headers=headers)
        except (ConnectionError, RuntimeError) as error:
            raise Unavailable(
                f"the Jobs API at {self._url} failed ({str(error)[:300]}): is the cluster running? Nothing was lost: a "
                "decision to retrain that is recorded is submitted by the next tick",
                system="Ray",
                address=self._url,
            ) from error


def command_of(config: str, env: str | None, overrides: Sequence[str]) -> str:
    """Return the shell command of a run of the pipeline.

    Examples
    --------
    >>> command_of("p.yaml", "aws", ["training.seed=8"])
    'python -m raypipe run p.yaml --env aws --set training.seed=8'
    """
    command = ["python", "-m", "raypipe", "run", config]
    command += ["--env", env] if env else []
    command += [part for override in overrides for part in ("--set", override)]
    return shlex.join(command)
