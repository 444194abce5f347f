"""`Measures` as plain values whose keys are text, and back. Knows shapes only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from raypipe.rollout.latency import LatencyEvidence
from raypipe.rollout.measures import ArmMoments, Measures
from raypipe.stats.asymptotic import Moments
from raypipe.stats.quantiles import LogHistogram
from raypipe.stats.tally import Tally


def measures_to_json(measures: Measures) -> dict[str, object]:
    """Return plain values, with what is empty left out."""
    found: dict[str, object] = {
        "pairs": {key: _texts(tally.masses) for key, tally in measures.pairs.items()},
        "latencies": {
            key: {
                "surely": _texts(known.surely.masses),
                "perhaps": _texts(known.perhaps.masses),
                "champion": _texts(known.champion.counts),
                "challenger": _texts(known.challenger.counts),
            }
            for key, known in measures.latencies.items()
        },
        "arms": {
            key: {repr(share): asdict(moments) for share, moments in by_share.items()}
            for key, by_share in measures.arms.items()
        },
    }
    return {key: value for key, value in found.items() if value}


def measures_from_json(plain: Mapping[str, Any]) -> Measures:
    """Return the measures that `measures_to_json` wrote."""
    return Measures(
        {key: Tally(_numbers(masses)) for key, masses in plain.get("pairs", {}).items()},
        {
            key: LatencyEvidence(
                Tally(_numbers(known["surely"])),
                Tally(_numbers(known["perhaps"])),
                LogHistogram(_numbers(known["champion"])),
                LogHistogram(_numbers(known["challenger"])),
            )
            for key, known in plain.get("latencies", {}).items()
        },
        {
            key: {float(share): _arms(moments) for share, moments in by_share.items()}
            for key, by_share in plain.get("arms", {}).items()
        },
    )


def _texts(numbers: Mapping[int, float]) -> dict[str, float]:
    return {str(key): value for key, value in sorted(numbers.items())}


def _numbers(texts: Mapping[str, Any]) -> dict[int, Any]:
    return {int(key): value for key, value in texts.items()}


def _arms(plain: Mapping[str, Mapping[str, Any]]) -> ArmMoments:
    return ArmMoments(Moments(**plain["challenger"]), Moments(**plain["champion"]))
