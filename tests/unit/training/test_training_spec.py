"""The training section of the user's file, read and written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from raypipe.training.spec import TrainingSpec, ValidationSpec

PIPELINE = yaml.safe_load((Path(__file__).parents[3] / "configs/flights/pipeline.yaml").read_text())


def test_the_flights_pipeline_is_read() -> None:
    spec = TrainingSpec.model_validate(PIPELINE["training"])
    assert spec.split.validation == 0.15
    assert spec.model.kind == "tabular_mlp"
    assert str(ValidationSpec.model_validate(PIPELINE["validation"]).absolute["auc"]) == ">= 0.65"


def test_a_spec_written_as_json_reads_back_equal() -> None:
    spec = TrainingSpec.model_validate(PIPELINE["training"])
    assert TrainingSpec.model_validate_json(spec.model_dump_json()) == spec
    limits = ValidationSpec.model_validate(PIPELINE["validation"])
    assert ValidationSpec.model_validate_json(limits.model_dump_json()) == limits


def test_an_entrypoint_model_keeps_the_types_of_its_parameters() -> None:
    model = {"kind": "entrypoint", "entrypoint": "mine.model:build", "parameters": {"a": 1, "b": 0.5, "c": True}}
    spec = TrainingSpec.model_validate({"model": model})
    assert [type(v) for v in spec.model.parameters.values()] == [int, float, bool]


@pytest.mark.parametrize("rate", ["0%", "100%", "15", "x"])
def test_a_split_without_rows_on_both_sides_is_refused(rate: str) -> None:
    with pytest.raises(ValidationError):
        TrainingSpec.model_validate({"model": {"kind": "tabular_mlp"}, "split": {"kind": "time", "validation": rate}})
