"""Stamped messages for a topic: good ones, broken ones, duplicates, and bytes that are no row at all.

A ledger outside of the system keeps each with what the broker said of it. Knows nothing of raypipe.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from broker import PARTITIONS, Broker
from ledger import BROKEN, Row
from producer import Producer, encoded

NO_ROWS = ("malformed(encoding)", "malformed(tombstone)", "malformed(object)")


@dataclass(frozen=True, slots=True)
class Sent:
    """One message.

    Parameters
    ----------
    value
        Its payload; None is a tombstone.
    row
        What it says, or would.
    offset
        Where the broker said that it stands; None where it said nothing, or that it failed: then the message is there
        once or not at all.
    """

    value: bytes | None
    row: Row
    partition: int
    offset: int | None = None


class Sends:
    """Messages in the order in which the broker answered, in a file."""

    def __init__(self, file: Path) -> None:
        self._file, self._turn = file, Lock()
        self._file.touch()

    def answer(self, sent: Sent) -> None:
        """Keep one message; call it after the answer and not before."""
        text = None if sent.value is None else base64.b64encode(sent.value).decode()
        with self._turn, self._file.open("a") as file:
            file.write(json.dumps({**asdict(sent), "value": text}) + "\n")

    def read(self) -> tuple[Sent, ...]:
        """Return every message."""
        return tuple(_sent(json.loads(line)) for line in self._file.read_text().splitlines())


class Messages:
    """Makes messages from the rows of a producer of objects, so that both may bring the same event.

    Parameters
    ----------
    rows
        Whose rows of `source` they are.
    """

    def __init__(self, seed: int, rows: Producer, source: str, broker: Broker, topic: str, sends: Sends) -> None:
        self._random = random.Random(seed)
        self._rows, self._source, self._topic, self._sends = rows, source, topic, sends
        self._broker, self._producer = broker, broker.producer()

    def made(self, count: int) -> list[Sent]:
        """Return so many messages, and at least one that is no row, which are not sent yet.

        The first stand in one partition each: a broker that died may have promised offsets at a partition's end and
        have no messages there, and only the next message shows a reader that there are none.
        """
        found = []
        for number, record in enumerate(self._rows.records(self._source, "jsonl", count)):
            partition = number if number < PARTITIONS else self._random.randrange(PARTITIONS)
            found.append(Sent(encoded([record], "jsonl"), record.row, partition))
        found.insert(self._random.randrange(count), self._no_row())
        return found

    def send(self, messages: Sequence[Sent], meanwhile: Callable[[], None] | None = None) -> None:
        """Return when the broker has answered, or did not in time, and the ledger says so of each.

        Parameters
        ----------
        meanwhile
            What happens at the first answer, while the others are under way.
        """
        first = [meanwhile] if meanwhile else []
        for sent in messages:

            def answered(error, message, sent=sent) -> None:
                offset = None if error else message.offset()
                self._sends.answer(Sent(sent.value, sent.row, sent.partition, offset))
                if first:
                    first.pop()()

            self._producer.produce(self._topic, sent.value, partition=sent.partition, on_delivery=answered)
        assert self._producer.flush(60) == 0, "there are messages without an answer"

    def _no_row(self) -> Sent:
        rule = self._random.choice(NO_ROWS)
        uuid = f"m-{self._random.getrandbits(128):032x}"
        row = Row(uuid, -1, uuid, BROKEN, rule)
        value = {"malformed(encoding)": b"\xff" + uuid.encode(), "malformed(object)": f'["{uuid}"]'.encode()}.get(rule)
        return Sent(value, row, self._random.randrange(PARTITIONS))


def _sent(plain: dict) -> Sent:
    value = None if plain["value"] is None else base64.b64decode(plain["value"])
    return Sent(value, Row(**plain["row"]), plain["partition"], plain["offset"])
