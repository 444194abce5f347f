"""Kills, cuts off and confuses a stream, its broker, and the ingestion of objects into the same table.

Does to one pipeline's stream what `nemesis.py` does to ingestion, and by the same means: a plan that a seed makes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from broker import PARTITIONS
from faults import Plan
from nemesis import Begin, Nemesis, points
from place import Driver, End, Place
from producer import SOURCES
from proxy import Action, Moment
from stream_lake import BATCH, MERGED, SOURCE, StreamLake

_REQUESTS, _WRITES = 250, 25  # of a stream of some batches, about
_RUN_S = 2.0
ATTACKS = {
    "stop": "SIGKILL at a boundary of the product",
    "moment": "SIGKILL before or after a request or a write reaches the store",
    "clock": "SIGKILL at some time",
    "faults": "faults in the proxy",
    "faults and clock": "both",
    "store": "the store is killed and comes back, under stream and broker",
    "broker": "the broker is killed and comes back, while it is written to and read",
    "two": "two streams of the source at once, one of them killed half of the time",
    "held": "a stream is held up at a write, another goes by it to the end, and the first goes on",
    "beside objects": "objects of the same events are ingested at the same time, one of the two killed half of the time",
    "crowd": "two streams and an ingestion at once, with faults",
}
"""What can be done to a stream."""


class StreamNemesis(Nemesis):
    """Attacks the stream of one lake.

    Half of the streams end at the end of the topic, half go on until they are told to end.
    """

    lake: StreamLake

    def __init__(self, place: Place, seed: int, totals: Counter[str]) -> None:
        super().__init__(place, seed, totals, lake=StreamLake(place, f"stream-{seed}", seed))
        self._runs = "runs on a topic"
        self._once = True
        self._streams: list[Driver] = []

    def attack(self, steps: int, kinds: Sequence[str] = tuple(ATTACKS)) -> None:
        """Send, and attack as many streams as `steps` says, each in another way."""
        for _ in range(steps):
            self._send()
            kind = self._random.choice(kinds)
            getattr(self, f"_{kind.replace(' ', '_')}")()

    def stop_everywhere(self, landings: int = 1) -> None:
        """Kill the stream, and ingestion beside it, before and after each effect of each landing, in order."""
        for landing in range(1, landings + 1):
            if landing > 1:
                self._land_one()
            for point in points(landing, [SOURCE]):
                self._stopped(point, self._ingesting(stop_at=point))
        for effect in (self._letters, self._events, self._merge):
            for when in ("before", "after"):
                # A stream that finds its letters there commits none: each run has messages, and poison, of its own.
                self._send(BATCH * MERGED if effect == self._merge else MERGED)
                self._stopped(f"{when} commit {effect()}", self._streaming(stop_at=f"{when} commit {effect()}"))

    def kill_at_writes(self, first: int, step: int) -> None:
        """Kill a stream before and after each `step`-th of its writes to the store, from the `first` on."""
        number, killed = first, True
        while killed:
            for when in ("before", "after"):
                self._send(BATCH * MERGED)
                moment = Moment(when, "write", number)
                killed = self._run(f"kill {moment}", moments={moment: self._kill}, begin=[self._streaming()]).killed
                self._run("undisturbed", begin=[self._streaming()])
            number += step

    def end(self) -> list[str]:
        """Return what is wrong with the lake now that nothing disturbs; what it holds is added to the totals."""
        self._send(PARTITIONS)
        wrong = super().end()
        sends = self.lake.sends.read()
        self.totals["messages sent"] += len(sends)
        self.totals["messages acknowledged"] += sum(s.offset is not None for s in sends)
        return wrong

    def _stop(self) -> None:
        effect = self._random.choice([self._letters, self._events, self._merge])()
        point = f"{self._random.choice(['before', 'after'])} commit {effect}"
        self._attacked(f"stop {point}", stop_at=point)

    def _at(self, moment: Moment) -> End:
        return self._attacked(f"kill {moment}", moments={moment: self._kill})

    def _moment(self) -> None:
        what, most = self._random.choice([("request", _REQUESTS), ("write", _WRITES)])
        self._at(Moment(self._random.choice(["before", "after"]), what, self._random.randint(1, most)))

    def _clock(self, plan: Plan | None = None) -> End:
        seconds = self._random.uniform(0, _RUN_S)
        return self._attacked(f"kill in {seconds:.2f} s", plan=plan, at={seconds: self._kill})

    def _faults(self) -> None:
        self._attacked("faults", plan=self._plan())

    def _store(self) -> None:
        number = self._random.randint(1, _REQUESTS)

        def restart() -> None:
            self.totals["store killed"] += 1
            self._place.store.kill()
            self._beside(self._place.store.start)

        moments = {Moment("before", "request", number): restart}
        self._attacked(f"store away at request {number}", moments=moments, once=False)

    def _broker(self) -> None:
        number, flood = self._random.randint(1, _REQUESTS // 2), self.lake.messages.made(4 * BATCH)

        def restart() -> None:
            self.totals["broker killed"] += 1
            self._place.broker.kill()
            self._place.broker.start()

        def send() -> None:
            self._beside(lambda: self.lake.messages.send(flood, meanwhile=restart))

        moments = {Moment("before", "request", number): send}
        self._attacked(f"broker away at request {number}", moments=moments, once=False)

    def _two(self) -> None:
        self._together("two streams", [self._streaming()] * 2)

    def _beside_objects(self) -> None:
        self._land_one()
        self._together("a stream and an ingestion", [self._streaming(), self._ingesting()])

    def _crowd(self) -> None:
        self._land_one()
        begin = [self._streaming(), self._streaming(), self._ingesting()]
        self._together("two streams and an ingestion", begin, plan=self._plan())

    def _together(self, what: str, begin: Sequence[Begin], plan: Plan | None = None) -> None:
        moment = Moment("before", "request", self._random.randint(1, 2 * _REQUESTS))
        victim = self._random.randrange(2 * len(begin))
        moments = {moment: self._place.drivers[victim].kill} if victim < len(begin) else {}
        said = f"{what}, {f'number {victim} killed {moment}' if moments else 'none killed'}"
        self._attacked(said, plan=plan, moments=moments, begin=begin)

    def _held(self) -> None:
        moment = Moment(self._random.choice(["before", "after"]), "write", self._random.randint(1, _WRITES))

        def hold() -> Future[None]:
            released: Future[None] = Future()

            def go_by() -> None:
                driver = self._place.drivers[1]
                self.lake.begin_stream(driver)
                self._count([driver.end()])
                released.set_result(None)

            self.totals["runs held up"] += 1
            self._beside(go_by)
            return released

        self._attacked(f"held up {moment}", moments={moment: hold})

    def _attacked(
        self,
        what: str,
        *,
        plan: Plan | None = None,
        moments: Mapping[Moment, Action] | None = None,
        at: Mapping[float, Callable[[], None]] | None = None,
        begin: Sequence[Begin] = (),
        stop_at: str = "",
        once: bool = True,
    ) -> End:
        """Attack a stream, while more is sent to it.

        Parameters
        ----------
        once
            Whether it may be one that ends with the topic; where the broker dies, the topic may not seem to end.
        """
        self._once, self._streams = once and self._random.random() < 0.5, []
        more, number = self.lake.messages.made(self._random.randint(1, BATCH)), self._random.randint(1, _REQUESTS)
        sends = {Moment("after", "request", number): lambda: self._beside(lambda: self.lake.messages.send(more))}
        stops: dict[float, Callable[[], None]] = {}
        if not self._once:
            stops[self._random.uniform(_RUN_S / 2, _RUN_S * 2)] = self._tell_to_stop
        return self._run(
            f"{what}, {'--once' if self._once else 'told to stop'}",
            plan=plan,
            moments={**sends, **(moments or {})},
            at={**stops, **(at or {})},
            begin=begin or [self._streaming(stop_at=stop_at)],
        )

    def _streaming(self, stop_at: str = "") -> Begin:
        def begin(driver: Driver) -> None:
            self._streams.append(driver)
            self.lake.begin_stream(driver, once=self._once, stop_at=stop_at)

        return begin

    def _tell_to_stop(self) -> None:
        for driver in self._streams:
            driver.stop()

    def _send(self, count: int = 0) -> None:
        self._place.broker.mend()
        self.lake.messages.send(self.lake.messages.made(count or self._random.randint(PARTITIONS, 3 * BATCH)))

    def _land_one(self) -> None:
        self.lake.producer.land_object(SOURCE, self._random.choice(SOURCES[SOURCE]))

    def _letters(self) -> str:
        return f"dead_letters: stream/{SOURCE} {self._number('dead_letters', 'stream') + 1}"

    def _events(self) -> str:
        return f"events/{SOURCE}: stream/{SOURCE} {self._number(f'events/{SOURCE}', 'stream') + 1}"

    def _merge(self) -> str:
        return f"events/{SOURCE}: compact/{SOURCE} {self._number(f'events/{SOURCE}', 'compact') + 1}"

    def _number(self, table: str, kind: str) -> int:
        """Return the last number of the stream, or of its merges, in a table."""
        return max((c.numbers.get(f"{kind}/{SOURCE}", 0) for c in self.lake.log(table)), default=0)
