"""The checker is silent about a lake that is right, and each thing that can be wrong with one has its sentence."""

import json
from dataclasses import replace
from datetime import datetime
from hashlib import sha256

import pytest
from checker import check
from ledger import BROKEN, Ledger
from producer import Producer
from seen import File, Seen

COUNTED = {"rows": 0, "accepted": 0, "dead_letters": 0, "duplicates": 0, "unreadable": 0, "objects": 1}


@pytest.fixture
def landed(tmp_path):
    """The ledger of one source with two objects of one generation each, and the lake that is right for it."""
    ledger, data = Ledger(tmp_path / "ledger"), []

    def put(_, bytes_):
        data.append(bytes_)
        return sha256(bytes_).hexdigest()

    producer = Producer(5, ledger, put, lambda key: f"s3://landing/{key}")
    for _ in range(2):
        producer.land_object("orders", "jsonl", 40)
    return ledger.read(), ideal(ledger.read(), data)


def ideal(versions, data):
    events, letters, commits, decisions, manifests, known = [], [], [], [], [], set()
    for generation, (version, text) in enumerate(zip(versions, data, strict=True), start=1):
        counts = COUNTED | {"rows": len(version.rows)}
        for number, (row, line) in enumerate(zip(version.rows, text.decode().splitlines(), strict=True)):
            place = {"source_position": f"{version.address}#{number}", "generation": generation}
            if row.kind == BROKEN:
                counts["dead_letters"] += 1
                letter = {"source": "orders", "letter_id": str(place), "raw": line, "reasons": [row.rule]}
                letters.append(letter | place)
            elif row.uuid in known:
                counts["duplicates"] += 1
            else:
                known.add(row.uuid)
                counts["accepted"] += 1
                values = json.loads(line)
                events.append({**values, "at": datetime.fromisoformat(values["at"]), **place})
        stream = "ingest/orders"
        manifests.append(
            {"source": stream, "generation": generation, "position": 0, "uri": version.address, "etag": version.etag}
        )
        commits += [{"table": t, "app_id": stream} for t in ("manifests", "dead_letters")]
        commits.append({"table": "events/orders", "app_id": stream, "counts": counts})
        evidence = json.dumps(counts | {"manifest": generation})
        decisions.append({"stream": stream, "what": "accept", "evidence": evidence})
    tables = {"events/orders": events, "dead_letters": letters, "manifests": manifests, "decisions": decisions}
    files = frozenset(File(name, f"{name}.parquet", len(rows), 9) for name, rows in tables.items())
    digests = dict.fromkeys(tables, (1, ""))
    stored = frozenset(replace(f, rows=-1) for f in files) | {File("events/orders", "died", -1, 9)}
    return Seen({"orders": events}, letters, manifests, decisions, commits, files, stored, digests)


def test_a_lake_that_is_right_is_right_though_files_lie_beside_its_tables(landed):
    versions, seen = landed
    assert {r.kind for v in versions for r in v.rows} == {"good", "broken", "duplicate"}
    assert check(versions, seen, seen) == []


def changed_event(seen, **values):
    return replace(seen, events={"orders": [seen.events["orders"][0] | values, *seen.events["orders"][1:]]})


WRONG = {
    "good rows accepted twice": lambda s: replace(s, events={"orders": [*s.events["orders"], s.events["orders"][0]]}),
    "good rows acknowledged and not in the lake": lambda s: replace(s, events={"orders": s.events["orders"][1:]}),
    "that nobody acknowledged as good": lambda s: changed_event(s, uuid="r-0"),
    "whose checksum is another": lambda s: changed_event(s, amount=0.5),
    "not the first of their uuid": lambda s: changed_event(s, generation=2),
    "both accepted and dead": lambda s: replace(
        s, letters=[s.letters[0] | {"raw": s.letters[0]["raw"] + s.events["orders"][0]["uuid"]}, *s.letters[1:]]
    ),
    "broken rows dead twice": lambda s: replace(s, letters=[*s.letters, s.letters[0] | {"letter_id": "x"}]),
    "letters twice": lambda s: replace(s, letters=[*s.letters, s.letters[0] | {"generation": 9}]),
    "not among the dead letters": lambda s: replace(s, letters=s.letters[1:]),
    "that nobody acknowledged as broken": lambda s: replace(s, letters=[*s.letters, s.letters[0] | {"generation": 9}]),
    "broken was": lambda s: replace(s, letters=[s.letters[0] | {"reasons": ["type(amount)"]}, *s.letters[1:]]),
    "acknowledged objects in no manifest": lambda s: replace(s, manifests=s.manifests[:1]),
    "in a manifest that nobody acknowledged": lambda s: replace(
        s, manifests=[*s.manifests, s.manifests[0] | {"etag": "x"}]
    ),
    "objects in two manifests": lambda s: replace(s, manifests=[*s.manifests, s.manifests[0] | {"generation": 2}]),
    "generations missing": lambda s: replace(s, manifests=[s.manifests[0], s.manifests[1] | {"generation": 3}]),
    "commits of ingest/orders to dead_letters": lambda s: replace(s, commits=s.commits[2:]),
    "the decisions on generation 1": lambda s: replace(s, decisions=s.decisions[1:]),
    "the commits of orders say": lambda s: replace(s, commits=[*s.commits[3:], *s.commits[3:]]),
    "does not add up": lambda s: replace(s, events={"orders": s.events["orders"][1:]}),
    "that the store does not hold": lambda s: replace(s, stored=frozenset()),
    "a reader sees others": lambda s: replace(s, logged=s.logged - {f for f in s.logged if f.table == "decisions"}),
}


@pytest.mark.parametrize("sentence", WRONG)
def test_what_is_wrong_has_its_sentence(landed, sentence):
    versions, seen = landed
    assert any(sentence in wrong for wrong in check(versions, WRONG[sentence](seen), seen))


def test_an_ingestion_that_changed_something_without_new_objects_is_wrong(landed):
    versions, seen = landed
    again = replace(seen, digests=seen.digests | {"decisions": (2, "")})
    [wrong] = check(versions, seen, again)
    assert "changed when there was nothing to ingest: decisions" in wrong


def test_an_object_whose_version_the_lake_says_is_gone_has_no_rows_to_find(landed):
    (one, two), seen = landed
    over = replace(one, etag="newer", rows=())
    lost = {"source": "orders", "letter_id": "lost", "generation": 1, "source_position": one.address, "raw": ""}
    wrong = check(
        (one, over, two), replace(seen, letters=[*seen.letters, lost | {"reasons": ["unreadable: gone"]}]), seen
    )
    assert any("that nobody acknowledged as good" in w for w in wrong), "its rows are in the lake all the same"
    assert any("acknowledged objects in no manifest" in w and "newer" in w for w in wrong)
