"""A stream from a real broker into a real store: exact counts, whoever is killed in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from raypipe.adapters.lake.catalog import dead_letters_table, events_table
from raypipe.adapters.lake.store import Store
from raypipe.config import load
from raypipe.local.platform import first_process

CONTRACT = """
apiVersion: v3.0.2
kind: DataContract
id: rides
version: 1.0.0
status: active
schema:
  - name: rides
    logicalType: object
    customProperties: [{property: eventAt, value: at}]
    properties:
      - {name: ride, logicalType: string, required: true, primaryKey: true}
      - {name: at, logicalType: timestamp, required: true}
      - {name: fare, logicalType: number, required: true, logicalTypeOptions: {minimum: 0}}
"""
PIPELINE = """
name: NAME
sources:
  NAME:
    contract: rides.odcs.yaml
    feeds: [{kind: kafka, topic: NAME, format: json}]
    halt_when: {dead_letter_rate: 0.5}
features: {spine: NAME, prediction_time: at, request: [fare]}
label: {name: dear, source: NAME, from: fare > 30, matures_within: 1d}
training: {model: {kind: tabular_mlp}}
validation: {absolute: {auc: ">= 0.6"}}
"""
PARTITIONS = 3


@dataclass(frozen=True)
class Topic:
    """A topic, the pipeline that reads it, and what must be in the lake once all of it was read."""

    name: str
    file: Path
    platform: object
    store: object

    @property
    def brokers(self):
        return self.platform.endpoints.kafka.brokers

    def produce(self, first, last):
        """Write messages first to last - 1: of ten, one is not JSON, one breaks a rule and one comes twice."""
        producer = Producer({"bootstrap.servers": self.brokers, "message.timeout.ms": 30_000})
        failed = []
        for n in range(first, last):
            value = json.dumps(
                {"ride": f"r{n - n % 10 if n % 10 == 1 else n}", "at": _at(n), "fare": -1 if n % 10 == 2 else 5}
            )
            body = b"\xff" if n % 10 == 3 else value.encode()
            producer.produce(self.name, body, partition=n % PARTITIONS, on_delivery=lambda e, _: e and failed.append(e))
        assert producer.flush(30) == 0
        assert failed == []

    def must_hold(self, messages):
        """Return when the lake holds each of so many messages once: events by id, letters by payload."""
        events = events_table(self.store, self.name, load(self.file).contracts[self.name])
        found = Counter(events.read(["event_id"])["event_id"].to_pylist())
        assert found == Counter(f"r{n}" for n in range(messages) if n % 10 not in (1, 2, 3))
        letters = [r for r in dead_letters_table(self.store).read().to_pylist() if r["source"] == self.name]
        assert Counter(r["reasons"][0] for r in letters) == {
            "range(fare)": messages // 10,
            "malformed(encoding)": messages // 10,
        }
        places = [r["source_position"] for r in letters]
        assert len(set(places)) == len(places)
        assert all(place.startswith(f"kafka://{self.name}/") for place in places)
        assert {r["raw"] for r in letters if r["reasons"][0] == "malformed(encoding)"} == {"base64:/w=="}
        numbers = [events.generation(f"stream/{self.name}/{self.name}/{p}") for p in range(PARTITIONS)]
        assert sum(numbers) == messages

    def arguments(self, *more):
        return ["stream", str(self.file), "--env", str(self.platform.env_file), *more]


def _at(number):
    return f"2020-01-0{1 + number % 3}T10:00:00Z"


@pytest.fixture(scope="module")
def broker(new_platform, tmp_path_factory):
    """A platform of a store and a broker: a stream needs nothing else."""
    root = tmp_path_factory.mktemp("broker")
    made = new_platform(root)
    spec = made.spec
    made.env_file.write_text(
        f"storage: {{kind: embedded, port: {spec.storage.port}, internal_port: {spec.storage.internal_port}}}\n"
        f"kafka: {{kind: embedded, port: {spec.kafka.port}}}\n"
        f"registry: {{kind: mlflow, uri: 'sqlite:///{root}/mlflow.db'}}\n"
        "ray: {kind: cluster, address: '127.0.0.1:1', dashboard: 'http://127.0.0.1:1'}\n"
    )
    try:
        up(made)
        yield made
    finally:
        done = made.down()
        assert done.returncode == 0, done.stdout + done.stderr
        assert "kafka is down" in done.stdout


def up(platform):
    """Bring store and broker up; that no Ray answers is what `up` ends with."""
    done = platform.cli("up", "--env", str(platform.env_file), "--with", "kafka")
    assert "Ray does not answer" in " ".join(done.stderr.split()), done.stdout + done.stderr
    return done.stdout


def states(platform):
    """Return the state of each part."""
    lines = platform.cli("status").stdout.splitlines()
    return {words[0]: words[1] for line in lines if len(words := line.split()) > 2 and words[1] in ("up", "down")}


@pytest.fixture
def topic(broker, tmp_path, request):
    store = Store(broker.endpoints.store)
    name = f"rides_{abs(hash(request.node.name)) % 10**8}"
    (tmp_path / "rides.odcs.yaml").write_text(CONTRACT)
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE.replace("NAME", name))
    made = Topic(name, file, broker, store)
    admin = AdminClient({"bootstrap.servers": made.brokers})
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(30)
    return made


class Child:
    """A stream in a process of its own."""

    def __init__(self, topic, *more, **variables):
        command = [sys.executable, "-c", "from raypipe.cli import main; main()", *topic.arguments(*more)]
        env = topic.platform.variables | variables
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def killed_where_it_stops(self):
        _, status = os.waitpid(self.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), self.process.stdout.read()
        self.process.send_signal(signal.SIGKILL)
        self.end()

    def end(self):
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out

    def await_line(self, part):
        """Return when the child has said something with `part` in it."""
        for line in self.process.stdout:
            if part in line:
                return
        raise AssertionError(f"it ended without saying {part!r}")


def once(topic):
    code, out = Child(topic, "--once").end()
    assert code == 0, out
    return out


def test_killed_at_every_boundary_and_run_again_each_message_is_in_the_lake_once(topic):
    messages = 0
    for table in ("dead_letters", f"events/{topic.name}"):
        for moment in ("before", "after"):
            topic.produce(messages, messages + 60)
            messages += 60
            point = f"{moment} commit {table}: stream/{topic.name} {_next_of(topic, table)}"
            Child(topic, "--once", RAYPIPE_STOP_AT=point).killed_where_it_stops()
    out = once(topic)
    assert "0 behind" in out
    topic.must_hold(messages)
    assert "0 messages" in once(topic)
    topic.must_hold(messages)


def _next_of(topic, table):
    name = "dead_letters" if table == "dead_letters" else table
    store, contract = topic.store, load(topic.file).contracts[topic.name]
    there = dead_letters_table(store) if name == "dead_letters" else events_table(store, topic.name, contract)
    return there.generation(f"stream/{topic.name}") + 1


def test_a_stream_outlives_its_broker_and_what_was_sent_before_and_after_is_there_once(topic):
    topic.produce(0, 300)
    child = Child(topic, RAYPIPE_LOG="json")
    child.await_line('"rows": 300')
    part = first_process(topic.platform.home, "kafka")
    os.kill(part.pid, signal.SIGKILL)
    assert states(topic.platform) == {"storage": "up", "registry": "up", "ray": "down", "kafka": "down"}
    assert "kafka is up" in up(topic.platform)
    assert states(topic.platform)["kafka"] == "up"
    topic.produce(300, 600)
    child.await_line('"rows": 600')
    child.process.send_signal(signal.SIGTERM)
    code, out = child.end()
    assert code == 0, out
    topic.must_hold(600)


def test_of_two_streams_of_one_source_one_ends_and_says_who_won(topic):
    topic.produce(0, 30)
    loser = Child(topic, "--once", RAYPIPE_STOP_AT=f"before commit events/{topic.name}: stream/{topic.name} 1")
    os.waitpid(loser.process.pid, os.WUNTRACED)
    topic.produce(30, 60)
    once(topic)
    loser.process.send_signal(signal.SIGCONT)
    code, out = loser.end()
    assert code == 1
    assert f"found 1 of stream/{topic.name}" in " ".join(out.split())
    assert f"streams `{topic.name}` too and committed first" in " ".join(out.split())
    topic.must_hold(60)


def test_too_many_dead_letters_end_the_stream_with_3_until_a_person_lets_them_in(topic):
    producer = Producer({"bootstrap.servers": topic.brokers})
    for n in range(600):
        producer.produce(topic.name, b"nope", partition=n % PARTITIONS)
    producer.flush(30)
    code, out = Child(topic, "--once").end()
    assert code == 3, out
    assert "600 of the newest 600 messages" in " ".join(out.split())
    assert dead_letters_table(topic.store).generation(f"stream/{topic.name}") == 0
    code, out = Child(topic, "--once", "--accept", "1", "--reason", "a test").end()
    assert code == 0, out
    assert "600 dead letters" in out
