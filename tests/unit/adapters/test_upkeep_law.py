"""Whatever is written, merged, taken away and left behind in whatever order: no reader of a kept version loses a row."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from functools import partial

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upkeep_lake import KEEP, RIDES, Lake, ids

from raypipe.adapters import upkeep_compact
from raypipe.adapters.lake.bundles import LakeBundles
from raypipe.adapters.upkeep_plan import LONGEST_RUN
from raypipe.adapters.upkeep_retention import Retainer
from raypipe.adapters.upkeep_vacuum import Vacuums, pins

DAYS = st.sampled_from([1, 3, 6, 10, 20, 31, 38])
NUMBER = st.integers(0, 5)
OPERATIONS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 70)),
    st.tuples(st.just("add_many"), NUMBER),
    st.tuples(st.just("replace"), NUMBER),
    st.tuples(st.just("orphan"), NUMBER),
    st.tuples(st.just("late"), st.integers(0, LONGEST_RUN.days - 1)),
    st.tuples(st.just("register"), NUMBER),
    st.tuples(st.just("forget"), NUMBER),
    st.tuples(st.just("pass"), DAYS),
    st.tuples(st.just("upkeep"), DAYS),
)


class Watched:
    """A lake of which every version is remembered as it was read when it was new."""

    def __init__(self, root):
        self.lake = Lake(root)
        self.seen = {}
        self.replaced_at = {}
        self.pinned = []
        self.orphans = set()

    def act(self, name, number):
        lake = self.lake
        match name:
            case "add":
                lake.add(2, (lake.now - timedelta(days=number)).date())
            case "add_many":
                for _ in range(8):
                    lake.add(1, (lake.now - timedelta(days=number)).date())
                    self.look()
            case "replace":
                self._replace(number)
            case "orphan":
                day = lake.now.date()
                file = lake.events.write(lake.event_rows(1, day), (("event_date", str(day)),))
                self.orphans.add(f"{lake.events.uri}/{file.path}")
            case "late":
                self._commit_late(number)
            case "register":
                if lake.events.standing().version >= 0:
                    version = lake.events.standing().version * number // 5
                    # A version that left reach may have lost its files already: nobody can have made a model from it.
                    if self._in_reach(version):
                        lake.register(lake.events, version)
                        self.pinned.append(version)
            case "forget":
                if self.pinned:
                    del self.pinned[number % len(self.pinned) :]
                    del lake.models.registered[len(self.pinned) :]
            case "pass":
                lake.pass_days(number)
            case "upkeep":
                lake.pass_days(number)
                self.upkeep()
        self.look()

    def upkeep(self):
        """Do the three steps to the one table that is watched."""
        lake, events = self.lake, self.lake.events
        clock = partial(getattr, lake, "now")
        retainer = Retainer(lake.store, "rides", RIDES, clock, "ann")
        for expiry in retainer.plan():
            retainer.apply(expiry, RIDES.retention)
        upkeep_compact.apply(events, upkeep_compact.plan(events))
        self.look()
        vacuums = Vacuums(lake.store, pins(lake.models.versions(), LakeBundles(lake.store)), clock, KEEP)
        vacuums.apply([vacuums.plan(events.name)], "ann")

    def _replace(self, number):
        lake, files = self.lake, self.lake.events.files()
        if not files:
            return
        old = files[number % len(files)]
        rows = lake.store.read_parquet(old.uri)
        lake.events.commit(
            [lake.events.write(rows, old.partition)],
            app_id="other",
            generation=lake.events.generation("other") + 1,
            removed=[old],
            turn=lake.events.turn(),
            data_change=False,
        )

    def _commit_late(self, days):
        """Write a file, and commit it as late as a run may, with an upkeep in between."""
        lake, day = self.lake, self.lake.now.date()
        file = lake.events.write(lake.event_rows(1, day), (("event_date", str(day)),))
        lake.pass_days(days)
        self.upkeep()
        self.look()
        number = lake.events.generation("late") + 1
        lake.events.commit([file], app_id="late", generation=number, turn=lake.events.turn())

    def look(self):
        """Remember versions that are new."""
        self.lake.stamp()
        newest = self.lake.events.standing().version
        for version in range(len(self.seen), newest + 1):
            self.seen[version] = ids(self.lake.events, version)
            self.replaced_at[version - 1] = self.lake.now

    def _in_reach(self, version):
        return self.replaced_at.get(version, self.lake.now) >= self.lake.now - KEEP

    def check(self):
        for version, rows in self.seen.items():
            if self._in_reach(version) or version in self.pinned:
                assert ids(self.lake.events, version) == rows, f"version {version} lost rows"
        newest = self.seen.get(self.lake.events.standing().version, [])
        assert len(newest) == len(set(newest))


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OPERATIONS, min_size=3, max_size=12))
def test_no_reader_of_a_version_that_is_kept_loses_a_row(operations):
    with tempfile.TemporaryDirectory() as root:
        watched = Watched(root)
        for name, number in operations:
            watched.act(name, number)
            if name in ("upkeep", "late"):
                watched.check()
        watched.act("upkeep", 1)
        watched.check()


@settings(max_examples=4, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OPERATIONS, min_size=3, max_size=10))
def test_in_the_end_only_what_is_needed_is_left(operations):
    with tempfile.TemporaryDirectory() as root:
        watched = Watched(root)
        for name, number in (("add", 0), *operations):
            watched.act(name, number)
        watched.lake.models.registered.clear()
        watched.pinned.clear()
        watched.act("upkeep", 1)
        watched.act("upkeep", (KEEP + LONGEST_RUN).days + 1)
        lake = watched.lake
        assert not watched.orphans & lake.data(lake.events)
        listed = {f.uri for f in lake.events.files()}
        # What this upkeep itself replaced is of a version that was in force a moment ago.
        watched.act("upkeep", (KEEP + LONGEST_RUN).days + 1)
        assert listed | {f.uri for f in lake.events.files()} >= lake.data(lake.events)
