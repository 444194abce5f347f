"""The main path as a Ray job: ray job submit --working-dir . -- python jobs/pipeline.py --config FILE."""

import argparse
import sys
from pathlib import Path

from raypipe.cli import report_errors
from raypipe.cli.run import execute

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--config", type=Path, required=True, help="the pipeline file")
parser.add_argument("--env", help="environment: a name below configs/env, or a file (default: the one that is up)")
parser.add_argument("--set", action="append", default=[], help="change a key, as in training.seed=8")

if __name__ == "__main__":
    arguments = parser.parse_args()
    sys.exit(report_errors(lambda: execute(arguments.config, arguments.env, arguments.set)))
