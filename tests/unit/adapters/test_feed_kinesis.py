"""Kinesis records as messages, against a server that speaks its protocol."""

from __future__ import annotations

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from streams import ListFeed, Place, ride

from raypipe.adapters.feed_kinesis import PART_BITS, KinesisFeed, parts_of, whole_of
from raypipe.adapters.stream_loop import Until
from raypipe.contracts.messages import Codec, JsonRows
from raypipe.errors import AccessDenied, Unavailable

REGION = "us-east-1"


@given(st.integers(0, 2**186 - 1))
def test_a_sequence_number_is_kept_in_numbers_that_a_commit_can_hold(sequence):
    parts = parts_of(sequence)
    assert whole_of(parts) == sequence
    assert all(0 <= part < 2**PART_BITS for part in parts)


@given(st.integers(0, 2**186 - 1), st.integers(0, 2**186 - 1))
def test_parts_are_ordered_as_their_numbers_are(one, other):
    assert (parts_of(one) < parts_of(other)) == (one < other)


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(endpoint, monkeypatch, request):
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(name, value)
    made = boto3.client("kinesis", region_name=REGION, endpoint_url=endpoint)
    made.create_stream(StreamName="rides", ShardCount=2)
    yield made
    made.delete_stream(StreamName="rides")
    made.close()


def put(client, values):
    for n, value in enumerate(values):
        client.put_record(StreamName="rides", Data=value, PartitionKey=str(n))


def feed(endpoint, stream="rides"):
    return KinesisFeed("rides", stream, REGION, endpoint, Codec(JsonRows()))


def test_records_of_every_shard_are_in_the_lake_once_though_the_stream_is_run_again(endpoint, client, tmp_path):
    place = Place(tmp_path)
    put(client, [*(ride(n) for n in range(20)), b"nope"])
    first = place.stream(feed(endpoint)).run(Until(caught_up=True))
    assert (first.counts.accepted, first.counts.dead_letters) == (20, 1)
    put(client, [ride(n) for n in range(15, 30)])
    second = place.stream(feed(endpoint), "two").run(Until(caught_up=True))
    assert (second.counts.rows, second.counts.accepted, second.counts.duplicates) == (15, 10, 5)
    assert place.ids() == sorted(f"r{n}" for n in range(30))
    shards = {p.split("#")[0] for p in place.events.read(["source_position"])["source_position"].to_pylist()}
    assert shards == {"kinesis://rides/shardId-000000000000", "kinesis://rides/shardId-000000000001"}


def test_shards_that_come_when_one_is_split_are_read_too(endpoint, client, tmp_path):
    place = Place(tmp_path)
    put(client, [ride(n) for n in range(10)])
    place.stream(feed(endpoint)).run(Until(caught_up=True))
    client.split_shard(StreamName="rides", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**125))
    put(client, [ride(n) for n in range(10, 40)])
    done = place.stream(feed(endpoint), "two").run(Until(caught_up=True))
    assert done.counts.accepted == 30
    assert place.ids() == sorted(f"r{n}" for n in range(40))


def test_a_stream_that_does_not_exist_and_a_service_that_does_not_answer_are_named(endpoint, client):
    with pytest.raises(Unavailable, match="has no stream `nowhere`: create it"):
        feed(endpoint, "nowhere").names()
    with pytest.raises(Unavailable, match="does not answer"):
        feed("http://127.0.0.1:1").names()


def test_without_credentials_it_says_which_are_needed(endpoint, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers those of before
    with pytest.raises(AccessDenied, match="no credentials"):
        feed(endpoint).names()


def test_a_feed_of_messages_and_one_of_records_keep_their_numbers_apart(endpoint, client):
    numbers = set(feed(endpoint).names())
    assert len(numbers) == 8
    assert numbers.isdisjoint(ListFeed([]).names())
