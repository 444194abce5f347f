"""What `raypipe stream` says before it reads a message."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raypipe.cli.stream import execute
from raypipe.errors import ConfigError

CONTRACT = """
apiVersion: v3.0.2
kind: DataContract
id: rides
version: 1.0.0
status: active
schema:
  - name: rides
    logicalType: object
    customProperties: [{property: eventAt, value: at}]
    properties:
      - {name: ride, logicalType: string, required: true, primaryKey: true}
      - {name: at, logicalType: timestamp, required: true}
"""
REST = """
features: {spine: one, prediction_time: at, request: [ride]}
label: {name: dear, source: one, from: ride, matures_within: 1d}
training: {model: {kind: tabular_mlp}}
validation: {absolute: {auc: ">= 0.6"}}
"""
OBJECTS = "{kind: objects, uri: /data, format: csv}"
KAFKA = "{kind: kafka, topic: rides, format: json}"


@pytest.fixture
def pipeline(tmp_path):
    (tmp_path / "rides.odcs.yaml").write_text(CONTRACT)

    def write(**feeds):
        sources = "".join(f"  {name}: {{contract: rides.odcs.yaml, feeds: [{f}]}}\n" for name, f in feeds.items())
        file = tmp_path / "pipeline.yaml"
        file.write_text(f"name: rides\nsources:\n{sources}{REST}")
        return file

    return write


@pytest.mark.parametrize(
    ("feeds", "source", "said"),
    [
        ({"one": OBJECTS}, None, "no source has a feed of kind kafka or kinesis"),
        ({"one": OBJECTS, "two": KAFKA}, "one", "source `one` has a feed|source `one` .*add one"),
        ({"one": KAFKA, "two": KAFKA}, None, "several sources have such feeds .one, two.: say which with --source"),
        ({"one": KAFKA}, "three", "there is no source `three`: the pipeline has one"),
    ],
)
def test_which_source_is_streamed_must_be_clear(pipeline, feeds, source, said):
    with pytest.raises(ConfigError, match=said):
        execute(pipeline(**feeds), source, None, [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--accept", "3"], "with --accept GENERATION and --reason TEXT, both"),
        (["--for", "soon"], "--for: 'soon' is not a duration"),
        ([], "the environment file has no `kafka`: add"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_code_2(pipeline, tmp_path, arguments, said):
    env = tmp_path / "env.yaml"
    env.write_text(
        f"storage: {{kind: directory, lake: {tmp_path}}}\nregistry: {{kind: mlflow, uri: x}}\n"
        "ray: {kind: cluster, address: x, dashboard: x}\n"
    )
    command = [sys.executable, "-m", "raypipe", "stream", str(pipeline(one=KAFKA)), "--env", str(env), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
