"""A Kafka topic as a feed. Every partition is assigned and its offset given: no consumer group decides what is read."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from raypipe.adapters.feed import Messages
from raypipe.contracts.messages import Codec
from raypipe.environment import KafkaAddress
from raypipe.errors import AccessDenied, RaypipeError, Unavailable
from raypipe.telemetry import event

_ASK_S = 10.0
_LOOK_AGAIN_S = 30.0  # for partitions that were added
_SAY_AGAIN_S = 10.0
_DENIED = {
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
}
# What may be set by the environment file comes before these: they are what exactly-once rests on.
_OURS: dict[str, str | int | bool] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
}
_BOUNDS: dict[str, str | int | bool] = {
    "queued.max.messages.kbytes": 65_536,
    "fetch.wait.max.ms": 100,
    "socket.keepalive.enable": True,
    "reconnect.backoff.max.ms": 2_000,
}


class KafkaFeed:
    """Fulfils `Feed`.

    Parameters
    ----------
    source
        Names the numbers: `stream/<source>/<topic>/<partition>`, each the next offset to read.
    """

    def __init__(self, source: str, topic: str, address: KafkaAddress, codec: Codec) -> None:
        self.name = f"kafka://{topic}"
        self.codec = codec
        self._prefix, self._topic, self._brokers = f"stream/{source}/{topic}/", topic, address.brokers
        self._failed: KafkaError | None = None
        self._said_at = self._looked_at = 0.0
        self._next: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._at_end: set[int] = set()
        self._astray: dict[int, KafkaError] = {}
        self._unread: set[int] = set()
        secrets = {name: secret.read() for name, secret in address.secrets}
        named: dict[str, Any] = {"bootstrap.servers": address.brokers, "group.id": f"raypipe-stream-{source}"}
        hooks: dict[str, Any] = {"error_cb": self._remember, "logger": _silent()}
        self._consumer = Consumer({**_BOUNDS, **dict(address.options), **secrets, **named, **_OURS, **hooks})

    def names(self) -> Sequence[str]:
        """Return a name for each partition."""
        return [f"{self._prefix}{p}" for p in self._partitions()]

    def seek(self, positions: Mapping[str, int]) -> None:
        """Read from these offsets on."""
        self._next = {int(name.removeprefix(self._prefix)): offset for name, offset in positions.items()}
        self._at_end, self._ends = set(), {}
        self._astray, self._unread = {}, set(self._next)
        self._looked_at = time.monotonic()
        self._consumer.assign([self._begin(p) for p in self._next])

    def poll(self, most: int, wait_s: float) -> Messages:
        """Return what arrives within `wait_s`."""
        if time.monotonic() - self._looked_at > _LOOK_AGAIN_S:
            self._take_up_new_partitions()
        values: list[bytes | None] = []
        partitions: list[int] = []
        offsets: list[int] = []
        produced: list[int] = []
        for message in self._consumer.consume(most, wait_s):
            if message.error() is not None:
                self._heard(message)
                continue
            values.append(message.value())
            partitions.append(message.partition() or 0)
            offsets.append(message.offset() or 0)
            produced.append(message.timestamp()[1])
        first = dict(zip(reversed(partitions), reversed(offsets), strict=True))
        lost = [said for p in self._unread & first.keys() if (said := self._skipped(p, first[p]))]
        last = dict(zip(partitions, offsets, strict=True))  # in a partition messages come in order
        self._next |= {p: offset + 1 for p, offset in last.items()}
        lost += [said for p, error in list(self._astray.items()) if (said := self._found_again(p, error))]
        self._say_failure()
        if not values:
            return Messages(lost=tuple(lost))
        places = [f"{self.name}/{p}#{offset}" for p, offset in zip(partitions, offsets, strict=True)]
        positions = {f"{self._prefix}{p}": self._next[p] for p in last}
        return Messages(values, pa.array(places, pa.string()), np.array(produced, np.int64), positions, tuple(lost))

    @property
    def exhausted(self) -> bool:
        """Whether the end of every partition was reached."""
        return self._at_end >= self._next.keys()

    def lag(self) -> Mapping[str, int]:
        """Return the messages behind the end of each partition, as the broker last said it."""
        behind = {}
        for p, position in self._next.items():
            # Never below what was read: a broker may announce its end late.
            _, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, p), cached=True)
            behind[f"{self._topic}/{p}"] = max(0, high - position)
        return behind

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    def _partitions(self) -> list[int]:
        try:
            found = self._consumer.list_topics(self._topic, timeout=_ASK_S).topics.get(self._topic)
        except KafkaException as error:
            raise self._unavailable(error.args[0]) from error
        if found is None or not found.partitions:
            raise Unavailable(
                f"the topic `{self._topic}` does not exist at {self._brokers}: create it, or correct the feed's "
                "`topic`",
                system="Kafka",
                address=self._brokers,
            )
        return sorted(found.partitions)

    def _take_up_new_partitions(self) -> None:
        self._looked_at = time.monotonic()
        try:
            added = [p for p in self._partitions() if p not in self._next]
        except Unavailable:
            return  # what is assigned goes on by itself when the brokers are back
        if added:
            event("stream", f"{self.name} has new partitions: {added}")
            self._next |= dict.fromkeys(added, 0)
            self._consumer.incremental_assign([self._begin(p) for p in added])

    def _begin(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition, self._next[partition] or OFFSET_BEGINNING)

    def _heard(self, message: Message) -> None:
        error = message.error()
        assert error is not None
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            self._at_end.add(int(message.partition() or 0))
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            self._astray[int(message.partition() or 0)] = error
        elif code in _DENIED or error.fatal():
            raise self._unavailable(error)
        else:
            self._failed = error

    def _skipped(self, partition: int, offset: int) -> str:
        """Return what was deleted before the first message that is read; nothing where it is the next one.

        Kafka says that an offset is out of range, other brokers go on with what they have. There may be no message at
        an offset although none was deleted: a marker of a transaction, or one that a compaction took.
        """
        self._unread.discard(partition)
        position = self._next[partition]
        if not 0 < position < offset:
            return ""
        kept = self._kept(partition)
        return self._deleted(partition, position, kept[0]) if kept and kept[0] > position else ""

    def _found_again(self, partition: int, error: KafkaError) -> str:
        """Go on at the oldest message that is kept; a position beyond the newest is another topic's."""
        position, kept = self._next[partition], self._kept(partition)
        if kept is None:
            return ""  # asked again with the next poll
        low, high = kept
        if position > high or low <= position:
            raise RaypipeError(
                f"the next message of {self.name}/{partition} is #{position}, and the brokers have #{low} to #{high} "
                f"({error.str()}): was the topic made anew? Give the feed a topic of another name",
                topic=self._topic,
            )
        del self._astray[partition]
        self._next[partition] = low
        # A partition that ended with an error is read no more, and cannot be sought.
        self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
        self._consumer.incremental_assign([self._begin(partition)])
        return self._deleted(partition, position, low)

    def _deleted(self, partition: int, position: int, low: int) -> str:
        return f"messages #{position} to #{low - 1} of {self.name}/{partition} were deleted before they were read"

    def _kept(self, partition: int) -> tuple[int, int] | None:
        """Return the oldest offset that the brokers have and the one after the newest; None where they are away."""
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=_ASK_S)
        except KafkaException as error:
            self._failed = error.args[0]
            return None
        return int(low), int(high)

    def _remember(self, error: KafkaError) -> None:
        self._failed = error

    def _say_failure(self) -> None:
        """Say what the client says about its connections; it connects again by itself."""
        error, self._failed = self._failed, None
        if error is None:
            return
        if error.code() in _DENIED:
            raise self._unavailable(error)
        if time.monotonic() - self._said_at > _SAY_AGAIN_S:
            self._said_at = time.monotonic()
            event("stream", f"Kafka at {self._brokers} fails ({error.str()}): waiting for it, nothing is lost")

    def _unavailable(self, error: KafkaError) -> Unavailable | AccessDenied:
        if error.code() in _DENIED:
            return AccessDenied(
                f"Kafka at {self._brokers} refuses us ({error.str()}): check `kafka.options` and `kafka.secrets` in "
                "the environment file",
                system="Kafka",
                address=self._brokers,
            )
        return Unavailable(
            f"Kafka at {self._brokers} does not answer ({error.str()}): is it running? Locally, `raypipe up --with "
            "kafka` starts it; nothing was lost",
            system="Kafka",
            address=self._brokers,
        )


def _silent() -> logging.Logger:
    """Return a logger that says nothing: what matters comes as errors, and is said once."""
    logger = logging.getLogger("raypipe.kafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
