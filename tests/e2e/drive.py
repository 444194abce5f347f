"""Users of an endpoint: threads that ask one after another and note who answered."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass

import pyarrow as pa
import requests

from raypipe.protocol.request import records_request


@dataclass(frozen=True)
class Answer:
    """One answer as a user saw it."""

    user: str
    status: int
    version: str
    epoch: int
    arm: str
    by: str
    request_id: str
    error: str = ""


class Drive:
    """Asks until it is closed; every user asks about every row in turn.

    `answers` grows while it runs; in each of its threads they are in order.
    """

    def __init__(self, url: str, rows: pa.Table, columns, users: int = 40, threads: int = 2) -> None:
        self.url, self.answers, self._users = url, [], users
        self._bodies = [records_request(rows.slice(i, 1), columns) for i in range(rows.num_rows)]
        self._ended = threading.Event()
        self._grown = threading.Condition()
        self._threads = [threading.Thread(target=self._ask, args=(n, threads)) for n in range(threads)]

    def __enter__(self) -> Drive:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def until(self, condition, timeout_s: float = 60) -> None:
        """Return once `condition` holds for the answers so far."""
        with self._grown:
            assert self._grown.wait_for(lambda: condition(self.answers), timeout_s), self.answers[-5:]

    def by_user(self) -> dict[str, list[Answer]]:
        """Return each user's answers in order."""
        found = defaultdict(list)
        for answer in self.answers:
            found[answer.user].append(answer)
        return found

    def _ask(self, first: int, step: int) -> None:
        with requests.Session() as session:
            number = first
            while not self._ended.is_set():
                user = f"user{number % self._users}"
                body = self._bodies[number % len(self._bodies)]
                headers = {"content-type": "application/json", "x-user-id": user}
                told = session.post(self.url, data=body, headers=headers, timeout=30)
                h = told.headers
                answer = Answer(
                    user,
                    told.status_code,
                    h.get("x-raypipe-version", ""),
                    int(h.get("x-raypipe-epoch", 0)),
                    h.get("x-raypipe-arm", ""),
                    h.get("x-raypipe-answered-by", ""),
                    h.get("x-request-id", ""),
                    "" if told.ok else f"{told.text[:300]} {dict(h)}",
                )
                with self._grown:
                    self.answers.append(answer)
                    self._grown.notify_all()
                number += step
