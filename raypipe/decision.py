"""One decision of a flow, chained by hash to the one before it in its stream.

State is the fold of a stream of decisions, and the chain shows if one was altered or removed.
Knows how a decision is hashed; does not know where it is kept or what it decides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from raypipe.errors import RaypipeError


@dataclass(frozen=True, slots=True)
class Decision:
    """One committed decision.

    Parameters
    ----------
    stream
        What it belongs to, such as `release/flights`.
    generation
        Its number in the stream, from 1.
    at
        Wall time of the decision, aware UTC.
    who
        The flow or person that decided.
    what
        The decision in one word of the vocabulary.
    why
        The reason in a sentence, with its numbers.
    evidence
        What it was judged on, as canonical JSON.
    previous_hash, hash
        sha256 in hex of the decision before it (empty for the first) and of this one.
    """

    stream: str
    generation: int
    at: datetime
    who: str
    what: str
    why: str
    evidence: str
    previous_hash: str
    hash: str


def follow(
    previous: Decision | None,
    *,
    stream: str,
    at: datetime,
    who: str,
    what: str,
    why: str,
    evidence: Mapping[str, object],
) -> Decision:
    """Return the next decision of a stream, chained to `previous`.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> at = datetime(2026, 1, 1, tzinfo=UTC)
    >>> first = follow(None, stream="s", at=at, who="me", what="plan", why="because", evidence={})
    >>> second = follow(first, stream="s", at=at, who="me", what="adopt", why="it is good", evidence={"auc": 0.7})
    >>> second.generation, second.previous_hash == first.hash
    (2, True)
    """
    generation = previous.generation + 1 if previous else 1
    previous_hash = previous.hash if previous else ""
    text = json.dumps(evidence, sort_keys=True, separators=(",", ":"), default=str)
    unhashed = Decision(stream, generation, at, who, what, why, text, previous_hash, "")
    return Decision(stream, generation, at, who, what, why, text, previous_hash, _digest(unhashed))


def verify(decisions: Sequence[Decision]) -> None:
    """Return if the stream is whole and unaltered.

    Raises
    ------
    RaypipeError
        Naming the first decision that does not follow from the one before it.
    """
    previous: Decision | None = None
    for decision in decisions:
        expected = (previous.generation + 1, previous.hash) if previous else (1, "")
        if (decision.generation, decision.previous_hash) != expected or decision.hash != _digest(decision):
            raise RaypipeError(
                f"the decisions of {decision.stream} were altered at generation {decision.generation}: "
                f"its hash or its predecessor does not match; compare with a backup of the lake",
                stream=decision.stream,
                generation=decision.generation,
            )
        previous = decision


def _digest(decision: Decision) -> str:
    body = asdict(decision)
    del body["hash"]
    body["at"] = decision.at.isoformat()
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
