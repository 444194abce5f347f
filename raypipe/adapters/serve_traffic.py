"""A release's traffic on Ray Serve: the target becomes the gateway's `user_config`, the replicas' words an observation.

Knows targets, the gateway's configuration and how to try a candidate; does not decide anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import requests

from raypipe import scoring
from raypipe.adapters.gateway_config import ChallengerConfig, ModelConfig, VersionConfig
from raypipe.adapters.gateway_state import GatewayStatus
from raypipe.adapters.serve_control import Observation, ServeControl
from raypipe.adapters.serve_details import challenger_application, challenger_name
from raypipe.boundary import boundary
from raypipe.bundle import Bundle
from raypipe.environment import Endpoints
from raypipe.errors import BadRequest
from raypipe.protocol import oip
from raypipe.rollout.evidence import Evidence
from raypipe.rollout.standing import Observed
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

    def apply(self, name: str, target: Target) -> None:
        """Order this traffic; ordering it again changes nothing. With nothing to load, the model is withdrawn.

        Raises
        ------
        GenerationMoved
            When Serve has been told a higher generation of this model.
        """
        model = ModelConfig(
            name=name,
            generation=target.generation,
            loaded=tuple(self._version(s) for s in target.loaded),
            champion=target.champion.version if target.champion else None,
            rollout=target.rollout,
            challenger=self._challenger(name, target),
        )
        spec, store = target.spec, self._endpoints.store
        challenger = None
        if target.challenger:
            where = spec.challenger
            wanted = self._version(target.challenger.served)
            challenger = challenger_application(name, wanted, store, where.replicas, where.cpus_per_replica)
        with boundary(f"apply traffic: {name} {target.generation}"):
            self._control.apply(
                model,
                store=store,
                replicas=spec.replicas,
                cpus_per_replica=spec.cpus_per_replica,
                host=self._endpoints.serve_host,
                port=self._endpoints.serve_port,
                challenger=challenger,
            )

    def observe(self, name: str, target: Target, *, smoke: bool, lease: bool = True) -> Observed:
        """Return what the replicas say; with `smoke`, the candidate is also tried once it is ready.

        Without `lease`, who only looks does not keep an unjudged challenger in traffic.

        The trial sends the bundle's example to the pinned version and compares the scores with those that the same
        bundle gives here, to 1e-6: what serves must be what was validated.
        """
        seen = self._control.observed()
        # Replicas that run are asked themselves: one that dies meanwhile is not the candidate's fault.
        if seen.status == "DEPLOY_FAILED" or (seen.status == "UNHEALTHY" and not seen.replicas):
            # A candidate that runs beside the gateways has no part in what is wrong with them: the deadline decides.
            return Observed(seen.expected, 0, 0, refused=None if target.challenger else _said(seen))
        rollout = target.rollout if target.challenger and lease else None
        reported = self._control.reported(seen, rollout) if target.loaded else {}
        observed = self._observed(name, target, seen, reported)
        candidate = target.challenger.served if target.challenger else target.loaded[-1] if target.loaded else None
        if not smoke or not candidate or not _ready(observed, target):
            return observed
        passed, message = self._try(name, candidate)
        return replace(observed, smoke=passed, smoke_message=message)

    def pause(self, seconds: float) -> None:
        """Return after so long."""
        time.sleep(seconds)

    def _version(self, served: Served) -> VersionConfig:
        return VersionConfig(version=served.version, digest=served.digest, bundle=self._bundle_uri(served.digest))

    def _challenger(self, name: str, target: Target) -> ChallengerConfig | None:
        challenger, spec = target.challenger, target.spec
        if challenger is None:
            return None
        return ChallengerConfig(
            version=challenger.served.version,
            digest=challenger.served.digest,
            application=challenger_name(name),
            columns=self._bundle(challenger.served.digest).columns,
            percent=challenger.percent,
            shadow_percent=challenger.shadow_percent,
            salt=challenger.salt,
            unit_header=spec.unit.header.lower() if spec.unit.header else None,
            unit_field=spec.unit.field,
            timeout_ms=spec.challenger.timeout.total_seconds() * 1000,
            lease_s=spec.challenger.lease.total_seconds(),
        )

    def _observed(
        self, name: str, target: Target, seen: Observation, reported: Mapping[str, GatewayStatus]
    ) -> Observed:
        candidate = target.loaded[-1] if target.loaded else None
        champion = target.champion.version if target.champion else None
        statuses = reported.values()
        prepared = serving = 0
        reasons: set[str | None] = set()
        if candidate:
            prepared = sum(s.loaded.get(name, {}).get(candidate.version) == candidate.digest for s in statuses)
            # With a challenger beside it, what a gateway cannot load may be the champion: no fault of the challenger.
            loading = target.challenger is None or target.challenger.served == candidate
            version = candidate.version if loading else None
            reasons = {_refusal(s, name, version, target.generation) for s in statuses}
        if champion:
            serving = sum(
                s.epochs.get(name, 0) >= target.generation and s.champions.get(name) == champion for s in statuses
            )
        observed = Observed(seen.expected, prepared, serving, "; ".join(sorted(r for r in reasons if r)) or None)
        if target.challenger is None:
            return observed
        beside = self._control.challenger(name)
        evidence = Evidence(
            {
                (generation, replica): part
                for replica, status in reported.items()
                if (known := status.evidence.get(name)) and known.rollout == target.rollout
                for generation, part in known.by_generation.items()
            }
        )
        return replace(
            observed,
            refused=observed.refused or (_said(beside) if beside.status == "DEPLOY_FAILED" else None),
            challenger_expected=beside.expected,
            challenger_ready=len(beside.replicas),
            evidence=evidence,
            circuit_open_s=max((part.circuit_open_s for part in evidence.parts.values()), default=0.0),
        )

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


def _ready(observed: Observed, target: Target) -> bool:
    """Return whether the candidate can be tried: where it is loaded, and through gateways that know of it."""
    if target.challenger and target.challenger.served not in target.loaded:
        running = 0 < observed.challenger_expected <= observed.challenger_ready
        return running and 0 < observed.expected <= observed.serving
    return 0 < observed.expected <= observed.prepared


def _said(seen: Observation) -> str:
    return f"Serve says {seen.status}: {seen.message or 'nothing more'}"


def _refusal(status: GatewayStatus, name: str, version: str | None, generation: int) -> str | None:
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
