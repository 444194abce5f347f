"""Kills, cuts off and confuses ingestion by a plan that a seed makes, and asks the checker when it is over.

An episode is one lake: objects land, runs are attacked, at the end nobody disturbs and the lake has to be right. What
an episode does depends on its seed alone; at which request or line a process is, when it is killed by the clock, and
the order of requests that go out at once, are the machine's.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from faults import Plan, planned
from lake import Lake
from place import Driver, End, Place
from producer import SOURCES
from proxy import Action, Moment

Begin = Callable[[Driver], None]
"""Begins a run in a driver."""

_REQUESTS, _WRITES = 250, 10  # of one ingestion of a few objects, about
_RUN_S = 1.5
ATTACKS = {
    "stop": "SIGKILL at a boundary of the product",
    "moment": "SIGKILL before or after a request or a write reaches the store",
    "clock": "SIGKILL at some time",
    "workers": "SIGKILL to every worker while tasks write, where there is a cluster",
    "faults": "faults in the proxy",
    "faults and clock": "both",
    "store": "the store is killed and comes back",
    "two": "two drivers at once, one of them killed half of the time",
    "held": "a run is held up at a write, another goes by it to the end, and the first goes on",
    "late": "objects land, or are written over, while the run reads",
}
"""What can be done to a run."""


class Nemesis:
    """Attacks the ingestion of one lake.

    Parameters
    ----------
    seed
        Decides what lands and what is done to it.
    totals
        What has been done so far; it is added to.
    cluster
        Whether tasks run on a Ray cluster, whose workers are killed too.
    lake
        What is attacked; none means a new one of objects alone.
    """

    def __init__(
        self, place: Place, seed: int, totals: Counter[str], *, cluster: bool = False, lake: Lake | None = None
    ) -> None:
        self._place, self.totals = place, totals
        self._random = random.Random(seed)
        self.lake = lake or Lake(place, f"{'ray' if cluster else 'here'}-{seed}", seed)
        self._runs = "runs on Ray" if cluster else "runs"
        self._cluster = place.cluster.address if cluster else ""
        self._hits_worker = False
        self.story: list[str] = []
        self.wrong: list[str] = []
        self._aside: list[threading.Thread] = []

    def attack(self, steps: int, kinds: Sequence[str] = tuple(ATTACKS)) -> None:
        """Land, and attack as many runs as `steps` says, each in another way."""
        self.lake.producer.land()
        self.lake.producer.land_unreadable()
        for _ in range(steps):
            kind = self._random.choice(kinds)
            getattr(self, f"_{kind.replace(' ', '_')}")()
            self._perhaps_land()

    def stop_everywhere(self, landings: int = 1) -> None:
        """Kill the run before and after each effect of each landing, in the order of the effects."""
        known: set[str] = set()
        for landing in range(1, landings + 1):
            self.lake.producer.land()
            for point in points(landing):
                known.add(point)
                self._stopped(point, self._ingesting(stop_at=point))
        self._nowhere_else(known)

    def kill_at_writes(self, first: int, step: int) -> None:
        """Kill a run before and after each `step`-th of its writes to the store, from the `first` on."""
        number, killed = first, True
        while killed:
            for when in ("before", "after"):
                for source, formats in SOURCES.items():
                    self.lake.producer.land_object(source, self._random.choice(formats))
                killed = self._at(Moment(when, "write", number)).killed
                # The next run has all of its writes before it.
                self._run("undisturbed")
            number += step

    def end(self) -> list[str]:
        """Return what is wrong with the lake now that nothing disturbs; what it holds is added to the totals."""
        self._place.proxy.follow(self._place.calm)
        wrong, seen = self.lake.judge()
        count = self.totals
        versions = self.lake.ledger.read()
        count["objects"] += len(versions)
        count["rows acknowledged"] += sum(len(v.rows) for v in versions)
        count["rows accepted"] += sum(map(len, seen.events.values()))
        count["rows dead"] += len(seen.letters)
        count["generations"] += len({(m["source"], m["generation"]) for m in seen.manifests})
        count["files that died uncommitted"] += len(seen.stored) - len(seen.logged)
        count["episodes"] += 1
        return self.wrong + wrong

    def _stopped(self, point: str, begin: Begin) -> None:
        end = self._run(f"stop {point}", begin=[begin])
        if not end.stopped:
            self.wrong.append(f"no run stopped at {point!r}: {end}")

    def _nowhere_else(self, known: set[str]) -> None:
        if others := set(self.lake.boundaries.read_text().splitlines()) - known:
            self.wrong.append(f"runs came to boundaries at which none was killed: {sorted(others)}")

    def _stop(self) -> None:
        seen = self.lake.see()
        source = self._random.choice(sorted(SOURCES))
        generation = max((m["generation"] for m in seen.manifests if m["source"] == f"ingest/{source}"), default=0)
        point = self._random.choice([p for g in (generation, generation + 1) for p in points(g, [source])])
        self._run(f"stop {point}", begin=[self._ingesting(stop_at=point)])

    def _moment(self) -> None:
        what, most = self._random.choice([("request", _REQUESTS), ("write", _WRITES)])
        self._at(Moment(self._random.choice(["before", "after"]), what, self._random.randint(1, most)))

    def _at(self, moment: Moment) -> End:
        return self._run(f"kill {self._prey()} {moment}", moments={moment: self._kill})

    def _workers(self) -> None:
        number = self._random.randint(5, _WRITES)
        self._hits_worker = bool(self._cluster)
        self._run(f"kill all workers at write {number}", moments={Moment("before", "write", number): self._kill})

    def _clock(self, plan: Plan | None = None) -> End:
        seconds = self._random.uniform(0, _RUN_S * (4 if self._cluster else 1))
        return self._run(f"kill {self._prey()} in {seconds:.2f} s", plan=plan, at={seconds: self._kill})

    def _faults(self) -> None:
        self._run("faults", plan=self._plan())

    def _faults_and_clock(self) -> None:
        self._clock(self._plan())

    def _store(self) -> None:
        number = self._random.randint(1, _REQUESTS)

        def restart() -> None:
            self.totals["store killed"] += 1
            self._place.store.kill()
            self._beside(self._place.store.start)

        self._run(f"store away at request {number}", moments={Moment("before", "request", number): restart})

    def _two(self) -> None:
        plan = self._plan() if self._random.random() < 0.5 else None
        moment = Moment("before", "request", self._random.randint(1, 2 * _REQUESTS))
        moments = {moment: self._place.drivers[0].kill} if self._random.random() < 0.5 else {}
        self._run(
            f"two drivers, {moment if moments else 'none killed'}",
            plan=plan,
            moments=moments,
            begin=[self._ingesting()] * 2,
        )

    def _held(self) -> None:
        moment = Moment(self._random.choice(["before", "after"]), "write", self._random.randint(1, _WRITES))

        def hold() -> Future[None]:
            released: Future[None] = Future()

            def go_by() -> None:
                driver = self._place.drivers[1]
                self.lake.begin(driver, cluster=self._cluster)
                self._count([driver.end()])
                released.set_result(None)

            self.totals["runs held up"] += 1
            self._beside(go_by)
            return released

        self._run(f"held up {moment}", moments={moment: hold})

    def _late(self) -> None:
        moments: dict[Moment, Action] = {}
        write_over = self._land_one if self._between_letters_and_events() else self.lake.producer.write_over
        for _ in range(3):
            # The first writes are the manifests; the objects are read after them.
            what, most = self._random.choice([("request", _REQUESTS // 2), ("write", 6)])
            moment = Moment("after", what, self._random.randint(1, most))
            moments[moment] = self._random.choice([self._land_one, write_over])
        self._run(f"landing {', '.join(map(str, moments))}", moments=moments)

    def _run(
        self,
        what: str,
        *,
        plan: Plan | None = None,
        moments: Mapping[Moment, Action] | None = None,
        at: Mapping[float, Callable[[], None]] | None = None,
        begin: Sequence[Begin] = (),
    ) -> End:
        """Return how the first of the runs ended that begin at once: an ingestion, where nothing else is said."""
        plan = plan or self._place.calm
        proxy, count = self._place.proxy, self.totals
        before = proxy.total, proxy.injected.copy()
        proxy.follow(plan, moments)
        used = list(zip(self._place.drivers, begin or [self._ingesting()], strict=False))
        for driver, begins in used:
            begins(driver)
        timers = [threading.Timer(seconds, action) for seconds, action in (at or {}).items()]
        for timer in timers:
            timer.start()
        ends = [driver.end() for driver, _ in used]
        while self._aside:
            self._aside.pop().join()
        for timer in timers:
            timer.cancel()
            timer.join()
        proxy.follow(self._place.calm)
        if proxy.failed:
            raise proxy.failed[0]
        self.story.append(f"{what} {dict(plan.faults) or ''} -> {ends}")
        self._count(ends)
        count["requests"] += proxy.total - before[0]
        count.update({f"fault: {kind}": n for kind, n in (proxy.injected - before[1]).items()})
        return ends[0]

    def _count(self, ends: Sequence[End]) -> None:
        count = self.totals
        for end in ends:
            count[self._runs] += 1
            count["drivers killed"] += end.killed
            count["runs that gave up"] += end.code == 2
            if not end.killed and end.code not in (0, 2):
                self.wrong.append(f"a run ended with an error that is none of raypipe's: {dict(end.said)}")

    def _ingesting(self, stop_at: str = "") -> Begin:
        return lambda driver: self.lake.begin(driver, cluster=self._cluster, stop_at=stop_at)

    def _prey(self) -> str:
        """Return whom the next kill hits."""
        self._hits_worker = bool(self._cluster) and self._random.random() < 0.5
        return "worker" if self._hits_worker else "driver"

    def _kill(self) -> None:
        if not self._hits_worker:
            self._place.drivers[0].kill()
            return
        self.totals["workers killed"] += self._place.cluster.kill_workers()

    def _plan(self) -> Plan:
        return planned(self._random.getrandbits(32), self._random.choice([0.01, 0.03, 0.1]))

    def _land_one(self) -> None:
        source = self._random.choice(sorted(SOURCES))
        self.lake.producer.land_object(source, self._random.choice(SOURCES[source]))

    def _perhaps_land(self) -> None:
        lot = self._random.random()
        if lot < 0.5:
            self._land_one()
        elif lot < 0.75 and not self._between_letters_and_events():
            self.lake.producer.write_over()
        elif lot < 0.8:
            self.lake.producer.land_unreadable()

    def _between_letters_and_events(self) -> bool:
        """Return whether a killed run left a generation with its dead letters but without its events.

        An object of it that is written over now is read no more, and its dead letters are there already, so that the
        generation's counts are not those of its rows: the one thing that docs/crash.md says is not proven.
        """
        commits = self.lake.see().commits
        letters = sum(c["table"] == "dead_letters" for c in commits)
        return letters != sum(c["table"].startswith("events/") for c in commits)

    def _beside(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        self._aside.append(thread)


def points(generation: int, sources: Sequence[str] = tuple(SOURCES)) -> list[str]:
    """Return the boundaries around each effect of one generation, in order; decisions are one for each generation."""
    effects = [f"manifests: ingest/{s} {generation}" for s in sources]
    for s in sources:
        effects.append(f"profiles: profiles/{s} {generation}")
        effects.append(f"dead_letters: ingest/{s} {generation}")
        effects += [f"{table}: ingest/{s} {generation}" for table in (f"events/{s}", "decisions")]
    return [f"{when} commit {effect}" for effect in effects for when in ("before", "after")]
