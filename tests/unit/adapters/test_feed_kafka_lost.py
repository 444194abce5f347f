"""Messages that the brokers deleted before they were read, against the brokers that librdkafka brings along for tests.

These keep 5 MB of a partition and delete the oldest batches beyond that, and answer who asks for one of them with
OFFSET_OUT_OF_RANGE, as Kafka does after `retention.bytes`.
"""

from __future__ import annotations

import json

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from streams import Place, ride

from raypipe.adapters.feed_kafka import KafkaFeed
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.stream_loop import Until
from raypipe.contracts.messages import Codec, JsonRows
from raypipe.environment import KafkaAddress

ALL = Until(caught_up=True)
PADDING = b" " * 900_000


@pytest.fixture(scope="module")
def producer():
    made = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    yield made
    made.flush(10)


@pytest.fixture
def feed(producer):
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    made = []

    def make(topic):
        made.append(KafkaFeed("rides", topic, KafkaAddress(f"127.0.0.1:{broker.port}"), Codec(JsonRows())))
        return made[-1]

    yield make
    for one in made:
        one.close()


def send(producer, topic, numbers, padding=b""):
    for number in numbers:
        producer.produce(topic, ride(number) + padding, partition=0)
        assert producer.flush(10) == 0, "a batch each, so that each is deleted by itself"


def decided(place):
    return [(d.what, d.why, json.loads(d.evidence)) for d in Decisions(place.store).stream("stream/rides")]


def test_a_stream_says_what_was_deleted_before_it_was_read_and_goes_on_with_the_oldest_that_is_kept(
    producer, feed, tmp_path
):
    place = Place(tmp_path)
    send(producer, "deleted", range(3))
    assert place.stream(feed("deleted")).run(ALL).counts.accepted == 3
    send(producer, "deleted", range(3, 12), PADDING)
    low, high = low_and_high(producer, feed, "deleted")
    assert 3 < low < high == 12, "the brokers deleted nothing that was not read yet"
    counts = place.stream(feed("deleted")).run(ALL).counts
    assert place.ids() == sorted(f"r{n}" for n in (*range(3), *range(low, 12)))
    assert counts.rows == 12 - low
    said = f"messages #3 to #{low - 1} of kafka://deleted/0 were deleted before they were read"
    assert decided(place) == [("lost", said, {"generation": 2})]
    assert place.stream(feed("deleted")).run(ALL).counts.rows == 0
    assert len(decided(place)) == 1


def test_a_loss_that_cannot_be_asked_about_yet_is_asked_about_again(producer, feed, monkeypatch):
    send(producer, "asked", range(12), PADDING)
    low, _ = low_and_high(producer, feed, "asked")
    one = feed("asked")
    one.seek({"stream/rides/asked/0": 1})
    asked = []

    class Away:
        """The consumer, whose first questions are not answered."""

        def __getattr__(self, name):
            return getattr(consumer, name)

        def get_watermark_offsets(self, partition, **how):
            asked.append(partition.partition)
            if len(asked) < 3:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return consumer.get_watermark_offsets(partition, **how)

    consumer = one._consumer
    monkeypatch.setattr(one, "_consumer", Away())
    lost, values = [], []
    while not values:
        read = one.poll(10, 0.1)
        lost += read.lost
        values += read.values
    assert lost == [f"messages #1 to #{low - 1} of kafka://asked/0 were deleted before they were read"]
    assert len(asked) == 3
    assert values[0] == ride(low) + PADDING


def test_messages_that_were_deleted_before_the_first_start_are_not_missed(producer, feed, tmp_path):
    place = Place(tmp_path)
    send(producer, "before", range(12), PADDING)
    counts = place.stream(feed("before")).run(ALL).counts
    assert 0 < counts.rows < 12
    assert decided(place) == []


def low_and_high(producer, feed, topic):
    return feed(topic)._consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
