"""Our bounds beside those of the package confseq, which runs in an environment of its own."""

from __future__ import annotations

import json
import subprocess

import numpy as np

from raypipe.stats.asymptotic import normal_boundary
from raypipe.stats.betting import LAMBDAS, Cells, bounds, log_wealth, shares_of_wealth
from raypipe.stats.sequential import stitched_boundary

_TIMES = [10.0, 100.0, 1e3, 1e4, 1e6]
_THEIRS = """
import json, sys
import numpy as np
from confseq.betting import betting_cs, diversified_betting_mart
from confseq.boundaries import normal_mixture_bound, poly_stitching_bound
given = json.load(sys.stdin)
x, v = np.array(given["x"]), np.array(given["times"])
bets = [lambda x, m, k=k: np.repeat(k, len(x)) for k in given["lambdas"]]
wealth = diversified_betting_mart(x, given["m"], bets, lambdas_weights=given["shares"], theta=1, trunc_scale=0.95)
low, high = betting_cs(x, alpha=0.1, breaks=1000)
print(json.dumps({
    "stitched": list(poly_stitching_bound(v, 0.05, 1.0, 1.0)),
    "normal": list(normal_mixture_bound(v, 0.05, 1000.0, 0.05, True)),
    "wealth": float(np.log(wealth[-1])),
    "interval": [float(low[-1]), float(high[-1])],
}))
"""


def agreement(python: str) -> str:
    """Return how far our numbers are from confseq's, in words.

    Parameters
    ----------
    python
        Interpreter of an environment that has confseq.
    """
    x = (np.random.default_rng(7).random(2000) < 0.12).astype(np.float64)
    given = {
        "x": x.tolist(),
        "m": 0.1,
        "times": _TIMES,
        "lambdas": LAMBDAS.tolist(),
        "shares": shares_of_wealth(1.0).tolist(),
    }
    said = subprocess.run([python, "-c", _THEIRS], input=json.dumps(given), capture_output=True, text=True, check=True)
    theirs = json.loads(said.stdout.splitlines()[-1])
    coin = Cells(np.array([1.0, 0.0]), np.ones(2), np.zeros(2), np.ones(2))
    counts = np.array([x.sum(), len(x) - x.sum()])
    stitched = _apart([stitched_boundary(v, 0.05) for v in _TIMES], theirs["stitched"])
    normal = _apart([normal_boundary(v, 0.05, tightest_at=1000.0) for v in _TIMES], theirs["normal"])
    wealth = abs(float(log_wealth(coin, counts, 0.1)) - theirs["wealth"])
    ours = bounds(coin, counts, alpha_lower=0.05, alpha_upper=0.05)
    low, high = theirs["interval"]
    return (
        f"confseq: the stitched boundary differs by at most {stitched:.1e}, the one-sided normal mixture (exact there, "
        f"a closed bound here) by {normal:.1%}, the log of the wealth of the same bets by {wealth:.1e}; after 2,000 "
        f"values of mean 0.12 our interval is {ours.lower:.4f} to {ours.upper:.4f}, and betting_cs (adaptive bets) "
        f"gives {low:.4f} to {high:.4f}"
    )


def _apart(ours: list[float], theirs: list[float]) -> float:
    return float(np.max(np.abs(np.array(ours) / np.array(theirs) - 1)))
