"""Tasks on workers: each result once, an error of ours as itself, and a worker that dies costs nothing."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from raypipe.adapters import ray_map
from raypipe.adapters.ray_map import Kept, keep, map_tasks
from raypipe.errors import Unavailable

pytestmark = [
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def by_value(ray_cluster):
    """Workers cannot import tests: what these map travels as it is."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def square(number):
    return number**2


def fail_at(wanted, number):
    if number == wanted:
        raise Unavailable("the store is away", system="s3", address="here")
    return number


def die_once(directory, number):
    mark = Path(directory) / str(number)
    if number == 3 and not mark.exists():
        mark.touch()
        os._exit(1)
    return number


@pytest.mark.parametrize("at_least", [1, 64])
def test_each_result_comes_once_however_few_tasks_may_wait(monkeypatch, at_least):
    monkeypatch.setattr(ray_map, "_AT_LEAST", at_least)
    assert sorted(map_tasks(square, range(150))) == [n**2 for n in range(150)]


def test_without_tasks_there_is_nothing():
    assert list(map_tasks(square, [])) == []


def test_an_error_of_ours_arrives_as_itself():
    with pytest.raises(Unavailable, match="the store is away") as raised:
        list(map_tasks(partial(fail_at, 5), range(10)))
    assert raised.value.address == "here"


def test_a_task_whose_worker_dies_is_run_again(tmp_path):
    assert sorted(map_tasks(partial(die_once, str(tmp_path)), range(6))) == list(range(6))


@dataclass(frozen=True)
class Taking:
    held: Kept

    @property
    def needed(self):
        return [self.held]


def keep_some(number):
    return os.getpid(), keep([number] * 100_000)


def take_first(task):
    found = task.held.take()
    return None if found is None else found[0]


def test_what_a_task_keeps_comes_to_the_task_that_names_it():
    held = [kept for _, kept in map_tasks(keep_some, range(3))]
    assert sorted(map_tasks(take_first, [Taking(k) for k in held])) == [0, 1, 2]


def test_what_was_kept_by_a_worker_that_died_is_gone_and_the_task_runs_without_it():
    ((worker, kept),) = map_tasks(keep_some, [1])
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while list(map_tasks(take_first, [Taking(kept)])) != [None]:  # the node has to notice
        assert time.monotonic() < deadline
