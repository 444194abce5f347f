"""The alerts are rules that Prometheus takes, fire on what they say, and ask only for figures that exist."""

import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from raypipe.adapters.ingest_metrics import IngestMetrics
from raypipe.adapters.lake.store import Store
from raypipe.environment import StoreAddress

ROOT = Path(__file__).parents[3]
RULES = ROOT / "cluster" / "monitoring" / "ingest.rules.yaml"
CASES = Path(__file__).with_name("ingest_alerts.yaml")


@pytest.fixture
def metrics(tmp_path):
    return IngestMetrics(Store(StoreAddress(lake=str(tmp_path))), lambda: datetime.now(UTC))


def promtool(*command, given=None):
    program = shutil.which("promtool") or shutil.which("promtool", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("promtool is missing, so the alerts were not checked: it is in Debian's package prometheus")
    said = subprocess.run([program, *command], input=given, capture_output=True, check=False)
    assert said.returncode == 0, (said.stdout + said.stderr).decode()


def test_prometheus_takes_the_rules():
    promtool("check", "rules", str(RULES))


def test_alerts_fire_on_what_they_say_and_on_nothing_else():
    promtool("test", "rules", str(CASES))


def test_prometheus_likes_the_names_of_the_figures(metrics):
    registry = CollectorRegistry()
    registry.register(metrics)
    promtool("check", "metrics", given=generate_latest(registry))


def test_every_figure_that_an_alert_asks_for_exists(metrics):
    known = {f"{m.name}_total" if m.type == "counter" else m.name for m in metrics.collect()}
    asked = set(re.findall(r"raypipe_ingest_\w+", RULES.read_text()))
    assert asked
    assert asked <= known
