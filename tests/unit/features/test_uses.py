"""Every column that the pipeline file names is used by what names it."""

from raypipe.features.uses import uses_of_columns
from raypipe.features.view import FeaturesSpec, LabelSpec


def test_uses_are_by_source_and_column_each_once():
    features = FeaturesSpec.model_validate(
        {
            "spine": "trips",
            "prediction_time": "starts_at - 1h",
            "request": ["starts_at", "dock"],
            "views": [
                {"name": "weather", "entity": ["dock"], "source": "weather", "ttl": "1h", "columns": ["rain"]},
                {
                    "name": "dock",
                    "entity": ["dock"],
                    "source": "trips",
                    "aggregate": {
                        "long": {"mean": "minutes > 30", "over": "1h"},
                        "trips": {"count": "*", "over": "1h"},
                        "ridden": {"sum": "minutes", "over": "1h"},
                    },
                },
            ],
        }
    )
    label = LabelSpec.model_validate({"name": "late", "source": "ends", "from": "delay > 5", "matures_within": "1d"})
    assert uses_of_columns(features, label) == {
        "trips": {
            "starts_at": ("prediction time (starts_at - 1h)", "request"),
            "dock": ("request", "view weather: entity", "view dock: entity"),
            "minutes": ("view dock: long", "view dock: ridden"),
        },
        "weather": {"dock": ("view weather: entity",), "rain": ("view weather: rain",)},
        "ends": {"delay": ("label late (delay > 5)",)},
    }
