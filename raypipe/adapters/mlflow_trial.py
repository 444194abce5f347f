"""What a trial came to, as the text of one MLflow tag.

MLflow cuts a tag at 8,000 characters, so the tag holds the last epoch alone; every epoch is among the run's metrics.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from raypipe.training.search import Trial, TrialResult

_REASON_LENGTH = 500


def to_tag(result: TrialResult) -> str:
    """Return the text that `from_tag` reads back; its length does not depend on the number of epochs."""
    kept = {
        "number": result.trial.number,
        "parameters": dict(result.trial.parameters),
        "outcome": result.outcome,
        "epochs": len(result.epochs),
        "last": dict(result.epochs[-1]) if result.epochs else {},
        "reason": result.reason[-_REASON_LENGTH:],
    }
    return json.dumps(kept)


def from_tag(text: str) -> TrialResult | None:
    """Return what a trial came to, with as many epochs as it ran: the last has metrics, those before it are empty.

    None where the text is not whole: whoever asks runs the trial again.
    """
    try:
        kept = json.loads(text)
        trial = Trial(kept["number"], kept["parameters"])
        before: tuple[Mapping[str, float], ...] = ({},) * (kept["epochs"] - 1)
        epochs = (*before, kept["last"]) if kept["epochs"] else ()
        return TrialResult(trial, kept["outcome"], epochs, kept["reason"])
    except (ValueError, KeyError, TypeError):
        return None
