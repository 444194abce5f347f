"""Whether the lake holds what was acknowledged, each row once, and nothing else: a pure function of both.

Returns sentences, none when all is well. Does not know how the rows got there, nor what was done to stop them.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ledger import BROKEN, Row, Version, checksum, superseded
from seen import Seen

COUNTS = ("rows", "accepted", "dead_letters", "duplicates", "unreadable", "objects")


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a manifest, and the version that the ledger has of it.

    Parameters
    ----------
    lost
        Whether it was written over before it was read: the lake says so in a dead letter, and the version that came
        after has an entry of its own.
    """

    generation: int
    version: Version
    lost: bool

    @property
    def rows(self) -> tuple[Row, ...]:
        return () if self.lost else self.version.rows


def check(versions: Sequence[Version], seen: Seen, again: Seen) -> list[str]:
    """Return what is wrong.

    Parameters
    ----------
    versions
        The ledger, in its order.
    seen
        The lake when there was nothing left to ingest.
    again
        The lake after one more ingestion.
    """
    wrong = list(_files(seen))
    everything, seen = seen, of_objects(seen)
    for source in sorted({v.source for v in versions}):
        ours = [v for v in versions if v.source == source]
        listed = [m for m in seen.manifests if m["source"] == f"ingest/{source}"]
        letters = [x for x in seen.letters if x["source"] == source]
        entries = _entries(ours, listed, letters)
        wrong += _manifests(ours, listed)
        wrong += _events(entries, seen.events[source])
        wrong += _letters(entries, letters)
        accepted, dead = {e["uuid"] for e in seen.events[source]}, " ".join(x["raw"] for x in letters)
        wrong += some("both accepted and dead", (uuid for uuid in accepted if uuid in dead))
        wrong += _balance(source, entries, seen)
    moved = [
        f"{t} from {everything.digests.get(t)} to {again.digests[t]}"
        for t in again.digests
        if again.digests[t] != everything.digests.get(t)
    ]
    return wrong + some("changed when there was nothing to ingest", moved)


def of_objects(seen: Seen) -> Seen:
    """Return the lake without the rows that messages brought."""
    return replace(
        seen,
        events={source: [e for e in rows if not of_message(e)] for source, rows in seen.events.items()},
        letters=[x for x in seen.letters if not of_message(x)],
    )


def of_message(row: Mapping[str, Any]) -> bool:
    """Return whether a message brought this row, and not an object."""
    return str(row["source_position"]).startswith("kafka://")


def some(what: str, found: Iterable[object]) -> list[str]:
    """Return a sentence with some of what was found; none where nothing was."""
    examples = sorted(str(f) for f in found)
    return [f"{len(examples)} {what}: {', '.join(examples[:3])}"] if examples else []


def twice(found: Iterable[object]) -> list[object]:
    """Return what is there more than once."""
    return [value for value, count in Counter(found).items() if count > 1]


def _entries(versions: Sequence[Version], listed: list[dict], letters: list[dict]) -> list[Entry]:
    """Return the manifest entries of known versions in the order in which equal events win."""
    by_name = {(v.address, v.etag): v for v in versions}
    gone = superseded(versions)
    said = {(x["generation"], x["source_position"]) for x in letters}
    found = []
    for m in sorted(listed, key=lambda m: (m["generation"], m["position"])):
        name = (m["uri"], m["etag"])
        if (version := by_name.get(name)) is not None:
            lost = version.readable and name in gone and (m["generation"], m["uri"]) in said
            found.append(Entry(m["generation"], version, lost))
    return found


def _manifests(versions: Sequence[Version], listed: list[dict]) -> Iterator[str]:
    names = [(m["uri"], m["etag"]) for m in listed]
    known, gone = {(v.address, v.etag) for v in versions}, superseded(versions)
    yield from some("acknowledged objects in no manifest", known - gone - set(names))
    yield from some("objects in a manifest that nobody acknowledged", set(names) - known)
    yield from some("objects in two manifests", twice(names))
    generations = {m["generation"] for m in listed}
    yield from some("generations missing between others", set(range(1, len(generations) + 1)) - generations)


def _events(entries: list[Entry], events: list[dict]) -> Iterator[str]:
    first: dict[str, tuple[int, str, Row]] = {}
    for entry in entries:
        for number, row in enumerate(entry.rows):
            if row.kind != BROKEN:
                first.setdefault(row.uuid, (entry.generation, f"{entry.version.address}#{number}", row))
    yield from some("good rows accepted twice", twice(e["uuid"] for e in events))
    yield from some("good rows acknowledged and not in the lake", first.keys() - {e["uuid"] for e in events})
    yield from some("rows in the lake that nobody acknowledged as good", {e["uuid"] for e in events} - first.keys())
    ours = [(e, first[e["uuid"]]) for e in events if e["uuid"] in first]
    yield from some(
        "accepted rows whose checksum is another", (e["uuid"] for e, (*_, row) in ours if not whole(e, row))
    )
    late = (
        f"{e['uuid']} at {e['generation']} {e['source_position']}, not {generation} {place}"
        for e, (generation, place, _) in ours
        if (e["generation"], e["source_position"]) != (generation, place)
    )
    yield from some("accepted rows that are not the first of their uuid", late)


def whole(event: Mapping[str, Any], row: Row) -> bool:
    """Return whether an event says what the row said."""
    at_us = (event["at"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    # CSV has no empty text: it is null there.
    said = checksum(event["uuid"], at_us, event["sequence"], event["amount"], event["note"] or "")
    return said == event["checksum"] == row.checksum


def _letters(entries: list[Entry], letters: list[dict]) -> Iterator[str]:
    expected: dict[tuple[int, str], tuple[str, str]] = {}
    for e in entries:
        if e.lost or not e.version.readable:
            expected[e.generation, e.version.address] = ("unreadable", "")
        for number, row in enumerate(e.rows):
            if row.kind == BROKEN:
                expected[e.generation, f"{e.version.address}#{number}"] = (row.rule, row.checksum)
    places = [(x["generation"], x["source_position"]) for x in letters]
    yield from some("broken rows dead twice", twice(places))
    yield from some("letters twice", twice(x["letter_id"] for x in letters))
    yield from some("broken rows acknowledged and not among the dead letters", expected.keys() - set(places))
    yield from some("dead letters of rows that nobody acknowledged as broken", set(places) - expected.keys())
    for letter, place in zip(letters, places, strict=True):
        rule, digest = expected.get(place, ("", ""))
        if rule and ([r.split(":")[0] for r in letter["reasons"]] != [rule] or digest not in letter["raw"]):
            yield f"the dead letter {place} says {letter['reasons']} of {letter['raw']!r}, broken was {rule} of {digest}"


def _balance(source: str, entries: list[Entry], seen: Seen) -> Iterator[str]:
    """Compare the rows of each generation with what its commit and its decision say."""
    stream = f"ingest/{source}"
    for table in ("manifests", "dead_letters", f"events/{source}"):
        number = sum(c["table"] == table and c["app_id"] == stream for c in seen.commits)
        if number != (generations := len({e.generation for e in entries})):
            yield f"{number} commits of {stream} to {table} for {generations} generations"
    said: dict[int, list[dict]] = defaultdict(list)
    for decision in seen.decisions:
        if decision["stream"] == stream and decision["what"] == "accept":
            said[json.loads(decision["evidence"])["manifest"]].append(json.loads(decision["evidence"]))
    committed = [c["counts"] for c in seen.commits if c["table"] == f"events/{source}" and c["app_id"] == stream]
    counted = []
    for generation in sorted({e.generation for e in entries}):
        found = _count(source, generation, entries, seen)
        counted.append(found)
        if found["rows"] != found["accepted"] + found["dead_letters"] + found["duplicates"]:
            yield f"generation {generation} of {source} does not add up: {found}"
        if [_only(d) for d in said[generation]] != [found]:
            yield f"the decisions on generation {generation} of {source} say {said[generation]}, the rows are {found}"
    if sorted(map(str, map(_only, committed))) != sorted(map(str, counted)):
        yield f"the commits of {source} say {[_only(c) for c in committed]}, the rows are {counted}"


def _only(counts: Mapping[str, Any]) -> dict[str, int]:
    return {name: counts[name] for name in COUNTS}


def _count(source: str, generation: int, entries: list[Entry], seen: Seen) -> dict[str, int]:
    """Return the counts that the acknowledged rows of a generation and the tables' rows have."""
    ours = [e for e in entries if e.generation == generation and not e.lost]
    lost = {e.version.address for e in entries if e.generation == generation and e.lost}
    good = [row.uuid for e in ours for row in e.rows if row.kind != BROKEN]
    before = {row.uuid for e in entries if e.generation < generation for row in e.rows if row.kind != BROKEN}
    letters = [x for x in seen.letters if x["source"] == source and x["generation"] == generation]
    return {
        "rows": sum(len(e.rows) for e in ours),
        "accepted": sum(e["generation"] == generation for e in seen.events[source]),
        "dead_letters": sum("#" in x["source_position"] for x in letters),
        "duplicates": len(good) - len(set(good) - before),
        "unreadable": sum("#" not in x["source_position"] and x["source_position"] not in lost for x in letters),
        "objects": len(ours),
    }


def _files(seen: Seen) -> Iterator[str]:
    stored = {(f.table, f.path): f.size_bytes for f in seen.stored}
    yield from some(
        "files in a log that the store does not hold",
        (f for f in seen.logged if stored.get((f.table, f.path)) != f.size_bytes),
    )
    rows = {f"events/{s}": len(found) for s, found in seen.events.items()}
    rows |= {"dead_letters": len(seen.letters), "manifests": len(seen.manifests), "decisions": len(seen.decisions)}
    for table, read in rows.items():
        logged = sum(f.rows for f in seen.logged if f.table == table)
        if read != logged:
            yield f"{table} shows {read} rows, the files in its log hold {logged}: a reader sees others"
