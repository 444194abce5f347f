"""The checker of streams is silent about a lake that is right, and each thing that can be wrong has its sentence."""

import base64
import json
from dataclasses import replace
from datetime import datetime

import pytest
from broker import PARTITIONS
from ledger import BROKEN, Ledger
from messages import Messages, Sends
from producer import Producer
from seen import Commit, Seen
from stream_checker import Topic, check

TURNS = 2


class Silent:
    """A broker of which nothing is asked."""

    def producer(self):
        return None


@pytest.fixture
def right(tmp_path):
    """A topic, and the lake and the logs that are right for it: two generations; one message was not acknowledged."""
    rows = Producer(5, Ledger(tmp_path / "ledger"), None, str)
    made = Messages(5, rows, "orders", Silent(), "topic", Sends(tmp_path / "sends")).made(40)
    ends, sends = [0] * PARTITIONS, []
    for sent in made:
        sends.append(replace(sent, offset=ends[sent.partition]))
        # The broker died when it had given one offset away, and before it wrote a message there.
        ends[sent.partition] += 2 if len(sends) == 20 else 1
    kept = {(s.partition, s.offset): s.value for s in sends}
    sends[3] = replace(sends[3], offset=None)
    topic = Topic("orders", "topic", PARTITIONS, (*sends, replace(made[0], value=b"never there")), kept)
    return (topic, *ideal(topic))


def ideal(topic):
    events, letters, known = [], [], set()
    logs = {"events/orders": [], "dead_letters": []}
    stands = [0] * PARTITIONS
    for generation in range(1, TURNS + 1):
        counts = {"rows": 0, "accepted": 0, "dead_letters": 0, "duplicates": 0}
        ends = [end * generation // TURNS for end in topic.ends]
        for (partition, offset), row in topic.rows.items():
            if not stands[partition] <= offset < ends[partition]:
                continue
            counts["rows"] += 1
            place = {"source_position": topic.address((partition, offset)), "generation": generation}
            value = topic.kept[partition, offset]
            if row.kind == BROKEN:
                counts["dead_letters"] += 1
                is_text = row.rule != "malformed(encoding)"
                raw = (value or b"").decode() if is_text else f"base64:{base64.b64encode(value).decode()}"
                letters.append({"source": "orders", "raw": raw, "reasons": [f"{row.rule}: why"]} | place)
            elif row.uuid in known:
                counts["duplicates"] += 1
            else:
                known.add(row.uuid)
                counts["accepted"] += 1
                values = json.loads(value)
                events.append({**values, "at": datetime.fromisoformat(values["at"]), **place})
        numbers = {"stream/orders": generation} | {topic.position(p): ends[p] for p in range(PARTITIONS)}
        logs["events/orders"].append(Commit(numbers, {"app_id": "stream/orders", "counts": counts}))
        logs["dead_letters"].append(Commit(numbers, {"app_id": "stream/orders"}))
        stands = ends
    return Seen({"orders": events}, letters, [], [], [], frozenset(), frozenset(), {}), logs


def test_a_lake_that_is_right_is_right_also_where_the_broker_did_not_say_whether_it_took_a_message(right):
    topic, seen, logs = right
    kinds = {row.kind for row in topic.rows.values()}
    assert kinds == {"good", "broken", "duplicate"}
    assert check(topic, seen, logs) == []


def event(seen, **values):
    return replace(seen, events={"orders": [seen.events["orders"][0] | values, *seen.events["orders"][1:]]})


def letter(seen, **values):
    return replace(seen, letters=[seen.letters[0] | values, *seen.letters[1:]])


def commit(logs, number, **numbers):
    log = list(logs["events/orders"])
    log[number] = replace(
        log[number], numbers={**log[number].numbers, **{n.replace("_", "/"): v for n, v in numbers.items()}}
    )
    return logs | {"events/orders": log}


def without(topic, place):
    return replace(topic, kept={p: v for p, v in topic.kept.items() if p != place})


WRONG = {
    "that the broker acknowledged and has not kept": lambda t, s, g: (without(t, (0, 1)), s, g),
    "that were not sent, or once": lambda t, s, g: (replace(t, sends=[x for x in t.sends if x.offset is not None]), s, g),
    "good events accepted twice": lambda t, s, g: (t, replace(s, events={"orders": [*s.events["orders"], s.events["orders"][0]]}), g),
    "that the broker has and the lake has not": lambda t, s, g: (t, replace(s, events={"orders": s.events["orders"][1:]}), g),
    "that are not the first of their uuid": lambda t, s, g: (t, event(s, source_position="kafka://topic/0#999"), g),
    "that say something else than the message": lambda t, s, g: (t, event(s, amount=0.125), g),
    "dead twice": lambda t, s, g: (t, replace(s, letters=[*s.letters, s.letters[0]]), g),
    "that are no dead letters": lambda t, s, g: (t, replace(s, letters=s.letters[1:]), g),
    "that are not broken": lambda t, s, g: (t, letter(s, source_position=s.events["orders"][0]["source_position"]), g),
    "broken was": lambda t, s, g: (t, letter(s, reasons=["type(amount): another"]), g),
    "both accepted and dead": lambda t, s, g: (t, letter(s, source_position=s.events["orders"][0]["source_position"]), g),
    "back from": lambda t, s, g: (t, s, g | {"dead_letters": g["dead_letters"][::-1]}),
    "without rows of the stream": lambda t, s, g: (t, s, g | {"events/orders": [replace(g["events/orders"][0], said={}), *g["events/orders"]]}),
    "generation 3 of the stream follows 1": lambda t, s, g: (t, s, commit(g, 1, stream_orders=3)),
    "messages and says": lambda t, s, g: (t, s, commit(g, 0, stream_orders_topic_0=1)),
    "positions do not cover it": lambda t, s, g: (t, event(s, generation=2), g),
    "the stream stands at": lambda t, s, g: (t, s, g | {"events/orders": g["events/orders"][:1]}),
    "the messages and rows are": lambda t, s, g: (t, replace(s, events={"orders": s.events["orders"][1:]}), g),
    "decisions of a stream": lambda t, s, g: (t, replace(s, decisions=[{"stream": "stream/orders", "what": "lost"}]), g),
}  # fmt: skip


@pytest.mark.parametrize("sentence", WRONG)
def test_what_is_wrong_has_its_sentence(right, sentence):
    found = check(*WRONG[sentence](*right))
    assert any(sentence in wrong for wrong in found), found
