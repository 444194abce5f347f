"""The real broker on the real store: it can be killed, and comes back with what it has acknowledged.

Its log is read by a plain client, without any code of raypipe, so that what the broker keeps and what it has said can
be compared. Does not know what the messages are.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from raypipe.environment import Endpoints
from raypipe.errors import Unavailable
from raypipe.local import health
from raypipe.local.parts import Part

PARTITIONS = 3
_PATIENCE_S = 60.0
Report = Callable[[KafkaError | None, int], None]


class Broker:
    """Tansu as the local platform starts it."""

    def __init__(self, part: Part, where: Endpoints, log: Path) -> None:
        assert where.kafka
        self._part, self._where, self._log = part, where, log
        self.address = where.kafka.brokers
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it speaks."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._part.command, env=self._part.env, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return health.require_kafka(self._where)
            except Unavailable:
                # It ends by itself where the store does not answer while it starts.
                if self._process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def mend(self) -> None:
        """Return when it speaks; it is started where it ended because the store was away."""
        if not self._process or self._process.poll() is not None:
            self.start()

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def create(self, topic: str) -> None:
        """Return when the topic is there."""
        admin = AdminClient({**self._client, "log_level": 0})
        admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)

    def producer(self) -> Producer:
        """Return a client that sends every message at most once: what is not acknowledged may be there or not."""
        return Producer(
            {
                **self._client,
                "acks": "all",
                "message.send.max.retries": 0,
                "message.timeout.ms": 15_000,
                "linger.ms": 5,
                # A batch is sent, and may fail, as one; there should be several.
                "batch.num.messages": 10,
            }
        )

    def kept(self, topic: str) -> Mapping[tuple[int, int], bytes | None]:
        """Return the payload of every message by partition and offset."""
        consumer = Consumer({**self._client, "group.id": "chaos", "enable.partition.eof": True})
        found: dict[tuple[int, int], bytes | None] = {}
        ended: set[int] = set()
        until = time.monotonic() + _PATIENCE_S
        try:
            consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
            while len(ended) < PARTITIONS:
                assert time.monotonic() < until, f"the log of {topic} could not be read: {ended}, {len(found)}"
                for message in consumer.consume(1000, 0.2):
                    if (error := message.error()) is None:
                        found[message.partition() or 0, message.offset() or 0] = message.value()
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ended.add(message.partition() or 0)
                    elif not error.retriable() and error.code() >= 0:
                        raise KafkaException(error)
        finally:
            consumer.close()
        return found

    @property
    def _client(self) -> dict[str, str | int | float | bool]:
        return {"bootstrap.servers": self.address, "reconnect.backoff.max.ms": 500, "log_level": 0}
