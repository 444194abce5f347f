"""What a stream tells Prometheus: read from its port as Prometheus would read it."""

from __future__ import annotations

import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from streams import NOW, ListFeed, Place, ride

from raypipe.adapters.stream_loop import Until
from raypipe.adapters.stream_metrics import StreamMetrics


def test_counts_lag_freshness_and_times_are_there_under_the_name_of_the_source(tmp_path):
    place, metrics = Place(tmp_path), StreamMetrics("rides")
    feed = ListFeed([ride(1), ride(1), b"nope", ride(2)])
    place.measured(feed, metrics).run(Until(caught_up=True))
    port = metrics.serve(0, "127.0.0.1")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    found = {
        (
            s.name.removeprefix("raypipe_stream_"),
            *sorted(v for k, v in s.labels.items() if k not in ("source", "le")),
        ): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    assert found["messages_total", "accepted"] == 2
    assert found["messages_total", "dead_letter"] == 1
    assert found["messages_total", "duplicate"] == 1
    assert found["dead_letters_by_reason_total", "malformed(json)"] == 1
    assert found["lag", "rides/0"] == 0
    assert found["index_events",] == 2
    assert found["commit_seconds_count",] == 1
    assert found["batch_messages_sum",] == 4
    assert found["visible_seconds_count",] == 4
    assert found["freshness_seconds",] == (NOW - NOW.replace(day=1, hour=10)).total_seconds()
