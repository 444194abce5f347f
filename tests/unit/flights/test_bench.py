"""A benchmark's result is the medians of its rounds, in one file that names no machine."""

import json
import platform

import pytest

from benchmarks import bench


def test_figures_are_medians_and_the_raw_rounds_are_kept(tmp_path):
    result = bench.measure(lambda n: {"steady_over_bare": [0.5, 0.1, 0.3][n]}, rounds=3, packages=["pyarrow"])
    assert bench.write("serving", result, tmp_path) == tmp_path / "serving.json"
    text = (tmp_path / "serving.json").read_text()
    written = json.loads(text)
    assert set(written) == {"at", "machine", "versions", "rounds", "figures", "by_round"}
    assert (written["rounds"], written["figures"]) == (3, {"steady_over_bare": 0.3})
    assert written["by_round"] == {"steady_over_bare": [0.5, 0.1, 0.3]}
    assert written["machine"]["cores"] >= 1
    assert platform.node() not in text


def test_a_round_that_measures_something_else_is_refused():
    with pytest.raises(ValueError, match=r"round 1 and round 0 differ .*\(b\)"):
        bench.measure(lambda n: {"a": 1.0} | ({"b": 2.0} if n else {}), rounds=2, packages=[])


def test_all_figures_are_printed_with_their_spread(capsys):
    result = bench.measure(lambda n: {"requests_per_s": 1000.0 * (n + 1)}, rounds=3, packages=[])
    bench.show("serving", result)
    printed = capsys.readouterr().out
    assert "medians of 3 rounds" in printed
    assert all(number in printed for number in ("2,000", "1,000", "3,000"))
