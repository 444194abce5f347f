"""A topic as a feed, against the brokers that librdkafka brings along for tests."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer
from streams import Place, ride

from raypipe.adapters.feed_kafka import KafkaFeed
from raypipe.adapters.stream_loop import Until
from raypipe.contracts.messages import Codec, JsonRows
from raypipe.environment import ExistingKafka, KafkaAddress, SecretRef
from raypipe.errors import ConfigError, RaypipeError, Unavailable

ALL = Until(caught_up=True)


@pytest.fixture(scope="module")
def producer():
    made = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    yield made
    made.flush(10)


@pytest.fixture(scope="module")
def brokers(producer):
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    return f"127.0.0.1:{broker.port}"


def send(producer, topic, values):
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(10) == 0


@pytest.fixture
def feed(brokers):
    made = []

    def make(topic):
        made.append(KafkaFeed("rides", topic, KafkaAddress(brokers), Codec(JsonRows())))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_messages_come_with_their_place_their_time_and_where_to_go_on(producer, feed):
    send(producer, "first", [ride(1), None, ride(2)])
    one = feed("first")
    names = one.names()
    assert "stream/rides/first/0" in names
    one.seek(dict.fromkeys(names, 0))
    read = []
    while not one.exhausted:
        read.append(one.poll(10, 0.1))
    values = [v for m in read for v in m.values]
    assert values == [ride(1), None, ride(2)]
    assert [p for m in read for p in m.places.to_pylist()] == [f"kafka://first/0#{n}" for n in range(3)]
    assert all(ms > 1_600_000_000_000 for m in read for ms in m.produced_ms)
    assert max(m.positions.get("stream/rides/first/0", 0) for m in read) == 3
    assert set(one.lag().values()) == {0}


def test_a_stream_that_is_run_again_reads_what_came_since(producer, feed, tmp_path):
    place = Place(tmp_path)
    send(producer, "second", [ride(1), ride(2)])
    assert place.stream(feed("second")).run(ALL).counts.accepted == 2
    send(producer, "second", [ride(2), ride(3)])
    counts = place.stream(feed("second"), "two").run(ALL).counts
    assert (counts.rows, counts.accepted, counts.duplicates) == (2, 1, 1)


def test_a_position_behind_the_newest_message_is_that_of_another_topic(producer, feed):
    send(producer, "third", [ride(1)])
    one = feed("third")
    one.seek(dict.fromkeys(one.names(), 1_000))
    with pytest.raises(RaypipeError, match=r"#1000, and the brokers have #0 to #\d.*was the topic made anew"):
        list(iter(lambda: one.poll(10, 0.1), None))


def test_brokers_that_do_not_answer_are_named_with_what_to_do(monkeypatch):
    monkeypatch.setattr("raypipe.adapters.feed_kafka._ASK_S", 0.2)
    one = KafkaFeed("rides", "rides", KafkaAddress("127.0.0.1:1"), Codec(JsonRows()))
    with pytest.raises(Unavailable, match="Kafka at 127.0.0.1:1 does not answer .*raypipe up --with kafka"):
        one.names()
    one.close()


def test_a_secret_is_read_where_it_is_used_and_is_in_no_repr(monkeypatch, brokers):
    address = KafkaAddress(brokers, (("sasl.mechanism", "PLAIN"),), (("sasl.password", SecretRef(env="KAFKA_PASS")),))
    with pytest.raises(ConfigError, match="KAFKA_PASS is not set"):
        KafkaFeed("rides", "rides", address, Codec(JsonRows()))
    monkeypatch.setenv("KAFKA_PASS", "very secret")
    one = KafkaFeed("rides", "rides", address, Codec(JsonRows()))
    assert "very secret" not in repr(address) + repr(one) + str(vars(one))
    one.close()


@pytest.mark.parametrize(
    "option", ["sasl.password", "ssl.key.password", "sasl.oauthbearer.client.secret", "ssl.key.pem"]
)
def test_a_secret_in_the_open_is_refused(option):
    with pytest.raises(ValueError, match="name it under `kafka.secrets`"):
        ExistingKafka.model_validate({"kind": "kafka", "brokers": "b:1", "options": {option: "x"}})


def test_what_exactly_once_rests_on_cannot_be_changed(brokers, producer, feed, tmp_path):
    send(producer, "fourth", [ride(1)])
    options = (("enable.auto.commit", True), ("auto.offset.reset", "latest"))
    one = KafkaFeed("rides", "fourth", KafkaAddress(brokers, options), Codec(JsonRows()))
    assert Place(tmp_path).stream(one).run(ALL).counts.accepted == 1
    one.close()
