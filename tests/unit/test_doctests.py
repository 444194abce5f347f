"""Every example in a pure module's docstring is true."""

import doctest
import importlib
import pkgutil

import pytest

import raypipe

PURE = ("stats", "rollout", "verdict", "spec")
MODULES = sorted(
    m.name for m in pkgutil.walk_packages(raypipe.__path__, "raypipe.") if m.name.split(".")[1] in PURE and not m.ispkg
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_boundaries_and_the_guardrails_have_examples():
    tried = {name: doctest.testmod(importlib.import_module(name)).attempted for name in MODULES}
    for part in ("stats.betting", "stats.asymptotic", "stats.sequential", "stats.tally", "rollout.latency"):
        assert tried[f"raypipe.{part}"] > 0, part
