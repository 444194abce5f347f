"""The alerts are rules that Prometheus takes, fire on what they say, and ask only for figures that exist."""

import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raypipe.adapters.ingest_metrics import IngestMetrics
from raypipe.adapters.lake.store import Store
from raypipe.environment import StoreAddress

ROOT = Path(__file__).parents[3]
RULES = ROOT / "cluster" / "monitoring" / "ingest.rules.yaml"
CASES = Path(__file__).with_name("ingest_alerts.yaml")


@pytest.mark.parametrize("command", [["check", "rules", str(RULES)], ["test", "rules", str(CASES)]])
def test_prometheus_takes_the_rules_and_they_fire_on_what_they_say(command):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing, so the alerts were not checked: it is in Debian's package prometheus")
    said = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_figure_that_an_alert_asks_for_exists(tmp_path):
    metrics = IngestMetrics(Store(StoreAddress(lake=str(tmp_path))), lambda: datetime.now(UTC))
    known = {f"{m.name}_total" if m.type == "counter" else m.name for m in metrics.collect()}
    asked = set(re.findall(r"raypipe_ingest_\w+", RULES.read_text()))
    assert asked
    assert asked <= known
