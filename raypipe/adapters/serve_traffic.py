"""A release's traffic on Ray Serve: the target becomes the gateway's `user_config`, the replicas' words an observation.

Knows targets, the gateway's configuration and how to try a candidate; does not decide anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import requests

from raypipe import scoring
from raypipe.adapters.gateway_config import ModelConfig, VersionConfig
from raypipe.adapters.gateway_state import GatewayStatus
from raypipe.adapters.serve_control import ServeControl
from raypipe.boundary import boundary
from raypipe.bundle import Bundle
from raypipe.config import Pipeline
from raypipe.environment import Endpoints
from raypipe.errors import BadRequest
from raypipe.protocol import oip
from raypipe.rollout.decide import Observed
from raypipe.rollout.state import Served, Target


class ServeTraffic:
    """Fulfils `ports.Traffic` for one model of an endpoint; the others stay as they are.

    Parameters
    ----------
    control
        Serve on the cluster that runs the gateway.
    endpoints
        Where the gateway listens and where it finds the bundles.
    bundle_uri
        URI of a bundle by its digest.
    bundle
        The bundle of a digest, for its example.
    session
        HTTP session; tests mount a fake transport on it.
    """

    def __init__(
        self,
        control: ServeControl,
        endpoints: Endpoints,
        bundle_uri: Callable[[str], str],
        bundle: Callable[[str], Bundle],
        *,
        session: requests.Session | None = None,
    ) -> None:
        self._control = control
        self._endpoints = endpoints
        self._bundle_uri = bundle_uri
        self._bundle = bundle
        self._session = session or requests.Session()

    def apply(self, pipeline: Pipeline, target: Target) -> None:
        """Order this traffic; ordering it again changes nothing. With nothing to load, the model is withdrawn."""
        model = ModelConfig(
            name=pipeline.spec.name,
            generation=target.generation,
            loaded=tuple(
                VersionConfig(version=s.version, digest=s.digest, bundle=self._bundle_uri(s.digest))
                for s in target.loaded
            ),
            champion=target.champion.version if target.champion else None,
        )
        release = pipeline.spec.release
        with boundary(f"apply traffic: {pipeline.spec.name} {target.generation}"):
            self._control.apply(
                model,
                store=self._endpoints.store,
                replicas=release.replicas,
                cpus_per_replica=release.cpus_per_replica,
                host=self._endpoints.serve_host,
                port=self._endpoints.serve_port,
            )

    def observe(self, pipeline: Pipeline, target: Target, smoke: bool) -> Observed:
        """Return what the replicas say; with `smoke`, of the version loaded last, which is also tried once it is ready.

        The trial sends the bundle's example to the pinned version and compares the scores with those that the same
        bundle gives here, to 1e-6: what serves must be what was validated.
        """
        name = pipeline.spec.name
        candidate = target.loaded[-1] if smoke else target.champion
        seen = self._control.observed()
        reported = self._control.reported(seen).values() if candidate else ()
        # Replicas that run are asked themselves: one that dies meanwhile is not the candidate's fault.
        fails = seen.status == "DEPLOY_FAILED" or (seen.status == "UNHEALTHY" and not seen.replicas)
        if candidate is None or fails:
            reason = f"Serve says {seen.status}: {seen.message or 'nothing more'}"
            return Observed(seen.expected, 0, 0, refused=reason if fails else None)
        prepared = sum(s.loaded.get(name, {}).get(candidate.version) == candidate.digest for s in reported)
        serving = sum(
            s.epochs.get(name, 0) >= target.generation and s.champions.get(name) == candidate.version for s in reported
        )
        reasons = {_refusal(s, name, candidate.version, target.generation) for s in reported}
        refused = "; ".join(sorted(r for r in reasons if r)) or None
        if not smoke or not 0 < seen.expected <= prepared:
            return Observed(seen.expected, prepared, serving, refused)
        passed, message = self._try(name, candidate)
        return Observed(seen.expected, prepared, serving, refused, passed, message)

    def pause(self) -> None:
        """Return after a quarter of a second."""
        time.sleep(0.25)

    def _try(self, name: str, candidate: Served) -> tuple[bool | None, str]:
        bundle = self._bundle(candidate.digest)
        url = f"{self._endpoints.serve_url}/v2/models/{name}/versions/{candidate.version}/infer"
        try:
            answer = self._session.post(url, data=oip.infer_body(bundle.example, bundle.columns), timeout=10)
        except requests.RequestException as error:
            return None, f"the endpoint does not answer ({error})"
        if answer.status_code == 503:
            return None, "the endpoint is not ready"
        if not answer.ok:
            return False, f"version {candidate.version} answers its example with {answer.status_code}: {answer.text}"
        try:
            version, scores = oip.parse_scores(answer.content)
        except BadRequest as error:
            return False, error.message
        return _compare(candidate, version, scores, scoring.load(bundle).score(bundle.example))


def _refusal(status: GatewayStatus, name: str, version: str, generation: int) -> str | None:
    # A replica that has not heard of this generation may still tell why it refused the one before; that it could not
    # read the order is then the only reason that counts.
    if status.wanted.get(name, 0) < generation:
        return status.refused.get("user_config")
    return status.refused.get(f"{name}/{version}") or status.refused.get(name)


def _compare(candidate: Served, version: str, scores: np.ndarray, expected: np.ndarray) -> tuple[bool, str]:
    if version != candidate.version or scores.shape != expected.shape or not len(scores):
        return False, (
            f"version {version} answered with {len(scores)} scores, expected {len(expected)} of version "
            f"{candidate.version}"
        )
    apart = float(np.max(np.abs(scores - expected)))
    if not apart <= 1e-6:  # also when it is NaN
        return False, f"its example scores differ by {apart:g} from those of its bundle, 1e-06 is allowed"
    return True, f"its {len(scores)} example rows score as in validation"
