"""A stream as a Ray job: ray job submit --working-dir . -- python jobs/stream.py --config FILE --source NAME."""

import argparse
import sys
from pathlib import Path

from raypipe.cli import report_errors
from raypipe.cli.stream import execute

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--config", type=Path, required=True, help="the pipeline file")
parser.add_argument("--source", help="its source (default: the only one that has such a feed)")
parser.add_argument("--once", action="store_true", help="end when all that has arrived is committed")
parser.add_argument("--metrics-port", type=int, help="answer Prometheus on this port")
parser.add_argument("--env", help="environment: a name below configs/env, or a file (default: the one that is up)")
parser.add_argument("--set", action="append", default=[], help="change a key, as in training.seed=8")

if __name__ == "__main__":
    given = parser.parse_args()
    options = {"once": given.once, "port": given.metrics_port}
    sys.exit(report_errors(lambda: execute(given.config, given.source, given.env, given.set, **options)))
