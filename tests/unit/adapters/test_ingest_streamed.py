"""Batch ingestion beside streams: what only a stream fills is no failure, and says what is there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from streams import NOW, SPEC, ListFeed, Place, ride

from raypipe.adapters.ingest_ray import RayIngestor
from raypipe.adapters.stream_loop import Until
from raypipe.verdict import Status


@pytest.mark.parametrize("rides", [0, 3])
def test_a_source_that_only_a_stream_fills_is_not_applicable_with_the_rows_it_has(tmp_path, rides):
    place = Place(tmp_path)
    place.stream(ListFeed([ride(n) for n in range(rides)])).run(Until(caught_up=True))
    spec = SimpleNamespace(sources={"rides": SPEC})
    pipeline = SimpleNamespace(spec=spec, contracts={"rides": place.contract})
    found = RayIngestor(place.store, lambda: NOW).ingest(pipeline)["rides"]
    assert found.snapshot.rows == rides
    assert found.verdict.status is Status.NOT_APPLICABLE
    assert found.verdict.lets_pass
    assert f"filled by `raypipe stream`: its table has {rides} rows" in found.verdict.sentence()
