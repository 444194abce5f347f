"""One look of the monitor as a Ray job: ray job submit --working-dir . -- python jobs/monitor.py --config FILE."""

import argparse
import sys
from pathlib import Path

from raypipe.cli import report_errors
from raypipe.cli.monitor import execute

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--config", type=Path, required=True, help="the pipeline file")
parser.add_argument("--env", help="environment: a name below configs/env, or a file (default: the one that is up)")
parser.add_argument("--set", action="append", default=[], help="change a key, as in monitor.window=7d")

if __name__ == "__main__":
    given = parser.parse_args()
    sys.exit(report_errors(lambda: execute(given.config, given.env, given.set)))
