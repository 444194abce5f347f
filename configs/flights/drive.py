"""Send recorded requests to the endpoint, one for each flight, in the order in which they would have come.

    python configs/flights/drive.py --from 2013-09-01 --to 2013-09-30 [--rate 300] [--connections 8] [--env local]

Each request's id is its flight's event id, by which its label is found later. Knows HTTP; does not judge answers.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from recorded import columns_of, recorded
from rich.console import Console

from raypipe.columns import Column
from raypipe.config import load, load_environment
from raypipe.environment import endpoints, home
from raypipe.protocol.request import records_request


@dataclass
class Tally:
    """What came back: answers by status, and by (version, assigned arm, who answered)."""

    status: Counter[int] = field(default_factory=Counter)
    answered: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)

    def sentence(self) -> str:
        """Return the counts in words."""
        sent = sum(self.status.values())
        by = ", ".join(
            f"{n:,} by version {version}" + (f" ({arm}, answered by {who})" if arm != who else f" ({arm})")
            for (version, arm, who), n in sorted(self.answered.items())
        )
        errors = sent - self.status[200]
        ranked = sorted(self.latencies_ms) or [0.0]
        p50, p99 = (ranked[int(len(ranked) * q)] for q in (0.5, 0.99))
        return f"{sent:,} requests, {errors:,} errors, p50 {p50:.1f} ms, p99 {p99:.1f} ms: {by or 'no answers'}"


class Drive:
    """Sends requests in threads from `start` to `stop`; the next `start` goes on with the next request.

    Parameters
    ----------
    url
        Where they are POSTed, as MLflow records.
    requests
        As `recorded` gives them.
    columns
        The model's inputs among them.
    connections
        Kept open at the same time.
    rate_per_s
        At most so many requests a second, over all connections.
    """

    def __init__(
        self,
        url: str,
        requests: pa.Table,
        columns: tuple[Column, ...],
        *,
        connections: int = 8,
        rate_per_s: float = 300,
    ) -> None:
        self._url, self._requests, self._columns = urlsplit(url), requests, columns
        self._ids = requests.column("event_id").to_pylist()
        self._connections, self._rate = connections, rate_per_s
        self._lock = threading.Lock()
        self._next = 0
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self.tally = Tally()

    @property
    def left(self) -> int:
        """Requests that were not sent yet."""
        return len(self._ids) - self._next

    @property
    def last_id(self) -> str:
        """Id of the request that was sent last."""
        return str(self._ids[max(0, self._next - 1)])

    @property
    def under_way(self) -> bool:
        """Whether requests are still being sent."""
        return any(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Begin to send what is left; counts start anew."""
        self.tally, self._ended = Tally(), threading.Event()
        self._began_at, self._first = time.monotonic(), self._next
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(self._connections)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> Tally:
        """Return what came back, after the requests under way were answered."""
        self._ended.set()
        return self.wait()

    def wait(self) -> Tally:
        """Return what came back, after everything was sent."""
        for thread in self._threads:
            thread.join()
        return self.tally

    def _send(self) -> None:
        connection = http.client.HTTPConnection(self._url.hostname or "", self._url.port, timeout=30)
        while not self._ended.is_set() and (number := self._take()) is not None:
            body = records_request(self._requests.slice(number, 1), self._columns)
            headers = {"content-type": "application/json", "x-request-id": self._ids[number]}
            began = time.perf_counter()
            try:
                connection.request("POST", self._url.path, body, headers)
                answer = connection.getresponse()
                answer.read()
                status, told = answer.status, answer.headers
            except (OSError, http.client.HTTPException):
                connection.close()
                status, told = 0, http.client.HTTPMessage()
            took_ms = (time.perf_counter() - began) * 1000
            who = tuple(told.get(f"x-raypipe-{name}", "-") for name in ("version", "arm", "answered-by"))
            with self._lock:
                self.tally.status[status] += 1
                self.tally.answered[who] += 1  # type: ignore[index]
                self.tally.latencies_ms.append(took_ms)
        connection.close()

    def _take(self) -> int | None:
        with self._lock:
            number = self._next
            if number >= len(self._ids):
                return None
            self._next += 1
        due_at = self._began_at + (number - self._first) / self._rate
        self._ended.wait(max(0.0, due_at - time.monotonic()))
        return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Send what the arguments ask for and return the exit code."""
    parser = argparse.ArgumentParser(description="Send recorded requests to the endpoint.")
    day = date.fromisoformat
    parser.add_argument("--from", dest="start", type=day, required=True, help="first UTC day, such as 2013-09-01")
    parser.add_argument("--to", dest="end", type=day, required=True, help="last UTC day")
    parser.add_argument("--rate", type=float, default=300, help="requests a second, at most (%(default)s)")
    parser.add_argument("--connections", type=int, default=8, help="kept open at the same time (%(default)s)")
    parser.add_argument("--env", default="local", help="environment that names the endpoint (%(default)s)")
    options = parser.parse_args(arguments)
    pipeline = load(Path(__file__).with_name("pipeline.yaml"))
    where = endpoints(load_environment(options.env), home())
    requests = recorded(pipeline, options.start, options.end)
    url = f"{where.serve_url}/endpoints/{pipeline.spec.name}/invocations"
    drive = Drive(
        url,
        requests,
        columns_of(requests, pipeline),
        connections=options.connections,
        rate_per_s=options.rate,
    )
    console = Console(highlight=False)
    console.print(f"sending {requests.num_rows:,} requests to {url}", soft_wrap=True)
    drive.start()
    tally = drive.wait()
    console.print(tally.sentence(), soft_wrap=True)
    return 0 if set(tally.status) <= {200} else 1


if __name__ == "__main__":
    sys.exit(main())
