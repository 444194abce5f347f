"""A release as a Ray job: ray job submit --working-dir . -- python jobs/release.py --config FILE [--version N]."""

import argparse
import sys
from pathlib import Path

from raypipe.cli import report_errors
from raypipe.cli.release import execute_start

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--config", type=Path, required=True, help="the pipeline file")
parser.add_argument("--version", help="a registered version (default: the newest)")
parser.add_argument("--env", help="environment: a name below configs/env, or a file (default: the one that is up)")
parser.add_argument("--set", action="append", default=[], help="change a key, as in release.alpha=0.01")

if __name__ == "__main__":
    given = parser.parse_args()
    sys.exit(report_errors(lambda: execute_start(given.config, given.version, given.env, given.set)))
