"""Whether the lake holds what a topic's broker acknowledged, each message once: a pure function of both.

Three things are compared: what the broker said to the producer, what it keeps, and what the lake has. Returns
sentences, none when all is well. Does not know how the rows got there, nor what was done to stop them.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from checker import of_message, some, twice, whole
from ledger import BROKEN, Row
from messages import Sent
from seen import Commit, Seen

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that a source is streamed from.

    Parameters
    ----------
    sends
        The ledger: all messages that were sent.
    kept
        Payloads that the broker has, by partition and offset.
    """

    source: str
    name: str
    partitions: int
    sends: Sequence[Sent]
    kept: Mapping[Place, bytes | None]

    @property
    def stream(self) -> str:
        return f"stream/{self.source}"

    def position(self, partition: int) -> str:
        """Return the name of the number that says where the stream stands."""
        return f"{self.stream}/{self.name}/{partition}"

    def address(self, place: Place) -> str:
        """Return how the lake names a place."""
        return f"kafka://{self.name}/{place[0]}#{place[1]}"

    @property
    def ends(self) -> list[int]:
        """The offset after the last of each partition; there may be none where the broker died before it wrote."""
        return [max((o + 1 for p, o in self.kept if p == partition), default=0) for partition in range(self.partitions)]

    @property
    def rows(self) -> dict[Place, Row]:
        """What each message that the broker has says."""
        by_value = {s.value: s.row for s in self.sends}
        return {place: by_value[value] for place, value in sorted(self.kept.items()) if value in by_value}


def check(topic: Topic, seen: Seen, logs: Mapping[str, Sequence[Commit]]) -> list[str]:
    """Return what is wrong.

    Parameters
    ----------
    seen
        The lake when there was nothing left to stream.
    logs
        The commits of the tables `events/<source>` and `dead_letters`, oldest first.
    """
    events = f"events/{topic.source}"
    return [
        *_broker(topic),
        *_events(topic, seen),
        *_letters(topic, seen),
        *_order(topic, logs["dead_letters"]),
        *_commits(topic, seen, logs[events]),
        *some(
            "decisions of a stream that nobody gave a reason",
            (d for d in seen.decisions if d["stream"] == topic.stream),
        ),
    ]


def _broker(topic: Topic) -> Iterator[str]:
    said = {(s.partition, s.offset): s.value for s in topic.sends if s.offset is not None}
    gone = (place for place, value in said.items() if place not in topic.kept or topic.kept[place] != value)
    yield from some("messages that the broker acknowledged and has not kept", gone)
    # Where it said nothing, the message is there once or not at all.
    others = Counter((place[0], value) for place, value in topic.kept.items() if place not in said)
    may_be = Counter((s.partition, s.value) for s in topic.sends if s.offset is None)
    yield from some("messages at the broker that were not sent, or once", (others - may_be).elements())


def _events(topic: Topic, seen: Seen) -> Iterator[str]:
    first: dict[tuple[str, int], str] = {}
    rows = {topic.address(place): row for place, row in topic.rows.items()}
    for place, row in topic.rows.items():
        if row.kind != BROKEN:
            first.setdefault((row.uuid, place[0]), topic.address(place))
    events = seen.events[topic.source]
    found = {e["uuid"] for e in events}
    yield from some("good events accepted twice", twice(e["uuid"] for e in events))
    yield from some("good messages that the broker has and the lake has not", {uuid for uuid, _ in first} - found)
    streamed = [e for e in events if of_message(e)]
    places = set(first.values())
    strange = [e for e in streamed if e["source_position"] not in places]
    yield from some("streamed rows that are not the first of their uuid in a partition", map(_place, strange))
    ours = ((e, rows[_place(e)]) for e in streamed if _place(e) in rows)
    yield from some(
        "streamed rows that say something else than the message", (_place(e) for e, r in ours if not _same(e, r))
    )


def _place(row: Mapping[str, object]) -> str:
    return str(row["source_position"])


def _same(event: Mapping[str, object], row: Row) -> bool:
    return event["uuid"] == row.uuid and whole(event, row)


def _letters(topic: Topic, seen: Seen) -> Iterator[str]:
    broken = {topic.address(p): (row.rule, topic.kept[p]) for p, row in topic.rows.items() if row.kind == BROKEN}
    letters = [x for x in seen.letters if of_message(x) and x["source"] == topic.source]
    yield from some("poison messages dead twice", twice(map(_place, letters)))
    yield from some("poison messages that are no dead letters", broken.keys() - set(map(_place, letters)))
    yield from some("dead letters of messages that are not broken", set(map(_place, letters)) - broken.keys())
    for letter in letters:
        rule, value = broken.get(_place(letter), ("", None))
        if rule and ([r.split(":")[0] for r in letter["reasons"]] != [rule] or letter["raw"] != _raw(value)):
            yield f"the dead letter {_place(letter)} says {letter['reasons']} of {letter['raw']!r}, broken was {rule}"
    accepted, dead = {e["uuid"] for e in seen.events[topic.source]}, {topic.rows[p].uuid for p in _dead(topic, letters)}
    yield from some("uuids both accepted and dead", accepted & dead)


def _dead(topic: Topic, letters: Sequence[Mapping[str, object]]) -> list[Place]:
    named = set(map(_place, letters))
    return [place for place in topic.rows if topic.address(place) in named]


def _raw(value: bytes | None) -> str:
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(value or b'').decode()}"


def _order(topic: Topic, log: Sequence[Commit]) -> Iterator[str]:
    """Hold the numbers of a table's log to the order in which commits came."""
    before: dict[str, int] = {}
    for version, commit in enumerate(log):
        for name, number in commit.numbers.items():
            if name.startswith(topic.stream) and number < before.get(name, 0):
                yield f"version {version} of the log sets {name} back from {before[name]} to {number}"
            before[name] = number


def _commits(topic: Topic, seen: Seen, log: Sequence[Commit]) -> Iterator[str]:
    """Hold each commit to the messages between the positions before it and those that it brings."""
    yield from _order(topic, log)
    stands = dict.fromkeys(map(topic.position, range(topic.partitions)), 0)
    ranges: dict[int, dict[int, range]] = {}
    total: Counter[str] = Counter()
    for version, commit in enumerate(log):
        moved = {name: number for name, number in commit.numbers.items() if name in stands}
        if commit.said.get("app_id") != topic.stream:
            if moved:
                yield f"version {version} of the log moves {sorted(moved)} without rows of the stream"
            total["superseded"] += commit.said.get("superseded", 0)
            stands |= moved
            continue
        generation, counts = commit.numbers.get(topic.stream, 0), commit.said["counts"]
        if generation != len(ranges) + 1:
            yield f"generation {generation} of the stream follows {len(ranges)}"
        came = {p: range(stands[n], moved.get(n, stands[n])) for p, n in enumerate(stands)}
        ranges[generation] = came
        stands |= moved
        total.update({name: counts[name] for name in ("rows", "accepted", "dead_letters", "duplicates")})
        messages = sum(offset in came[p] for p, offset in topic.kept)
        if not counts["rows"] == messages == counts["accepted"] + counts["dead_letters"] + counts["duplicates"]:
            yield f"generation {generation} has {messages} messages and says {counts}"
    yield from _sums(topic, seen, stands, total)
    for event in filter(of_message, seen.events[topic.source]):
        partition, offset = map(int, _place(event).rpartition("/")[2].split("#"))
        if offset not in ranges.get(event["generation"], {}).get(partition, range(0)):
            yield f"{_place(event)} is in generation {event['generation']}, whose positions do not cover it"


def _sums(topic: Topic, seen: Seen, stands: Mapping[str, int], total: Mapping[str, int]) -> Iterator[str]:
    ends = {topic.position(p): end for p, end in enumerate(topic.ends)}
    if stands != ends:
        yield f"the stream stands at {dict(stands)}, the broker has {ends}"
    streamed = sum(map(of_message, seen.events[topic.source])) + total["superseded"]
    broken = sum(row.kind == BROKEN for row in topic.rows.values())
    expected = {
        "rows": len(topic.kept),
        "accepted": streamed,
        "dead_letters": broken,
        "duplicates": len(topic.kept) - streamed - broken,
    }
    if (said := {name: total[name] for name in expected}) != expected:
        yield f"the commits of the stream say {said}, the messages and rows are {expected}"
