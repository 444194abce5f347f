"""What a stream decides and what a person decides about it, on record: halts, what was let in, what was lost.

Knows decisions; does not know messages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime

from raypipe.adapters.lake.decisions import Decisions
from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.halt import ACCEPT_HALTED, HALT, Resolution
from raypipe.errors import ConfigError
from raypipe.telemetry import event
from raypipe.verdict import Verdict

LOST = "lost"


class StreamRecord:
    """The decisions of one stream.

    Parameters
    ----------
    contract
        Digest of the contract in force.
    who
        Names this process.
    """

    def __init__(
        self, decisions: Decisions, source: str, contract: str, clock: Callable[[], datetime], who: str
    ) -> None:
        self._decisions, self._source, self._contract = decisions, source, contract
        self._clock, self._who = clock, who
        self._stream = f"stream/{source}"

    def halted(self, generation: int, counts: GateEvidence, verdict: Verdict) -> None:
        """Record that the stream stops before this generation."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(counts)))
        evidence = {"generation": generation, "contract": self._contract, **plain}
        self._record(self._who, HALT, verdict.sentence(), evidence)
        event("stream", f"{self._source}: halted at generation {generation}: {verdict.sentence()}")

    def lost(self, generation: int, said: str) -> None:
        """Record that messages were deleted before they were read; once, also by a stream that finds it again."""
        event("stream", f"{self._source}: {said}")
        if (LOST, said) not in {(d.what, d.why) for d in self._decisions.stream(self._stream)}:
            self._record(self._who, LOST, said, {"generation": generation})

    def let_in(self, generation: int, resolution: Resolution | None) -> int:
        """Return how many messages are let in without the gate, because a person says so now or said so before.

        Parameters
        ----------
        generation
            The next of the stream.

        Raises
        ------
        ConfigError
            When the stream is not halted there.
        """
        past = [d for d in self._decisions.stream(self._stream) if d.what != LOST]
        last = past[-1] if past else None
        said = json.loads(last.evidence) if last else {}
        here = last.what if last and said.get("generation") == generation else None
        if resolution is None:
            return int(said["rows"]) if here == ACCEPT_HALTED else 0
        if here not in (HALT, ACCEPT_HALTED) or resolution.generation != generation:
            raise ConfigError(
                f"`{self._source}` is not halted at generation {resolution.generation}: the next of its stream is "
                f"{generation}{f', and its last decision is {last.what}' if last else ''}; run without --accept"
            )
        if here == HALT:
            self._record(resolution.who, ACCEPT_HALTED, resolution.why, said)
        return int(said["rows"])

    def _record(self, who: str, what: str, why: str, evidence: Mapping[str, object]) -> None:
        past = self._decisions.stream(self._stream)
        previous, at = (past[-1] if past else None), self._clock()
        self._decisions.record(previous, stream=self._stream, at=at, who=who, what=what, why=why, evidence=evidence)
