"""Which columns of which source become what: the pipeline file read from the side of its sources.

Knows what the file says about features and the label. Does not know contracts or rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from raypipe.features.view import FeaturesSpec, LabelSpec


def uses_of_columns(features: FeaturesSpec, label: LabelSpec) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Return, by source and column, every use in words; a column that nothing uses is not there.

    Parameters
    ----------
    features, label
        What the file says.
    """
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for source, column, use in _uses(features, label):
        columns = found.setdefault(source, {})
        columns[column] = tuple(dict.fromkeys((*columns.get(column, ()), use)))
    return found


def _uses(features: FeaturesSpec, label: LabelSpec) -> Iterator[tuple[str, str, str]]:
    spine = features.spine
    yield spine, features.prediction_time.column, f"prediction time ({features.prediction_time})"
    for column in features.request:
        yield spine, column, "request"
    for view in features.views:
        for column in view.entity:
            yield view.source, column, f"view {view.name}: entity"
            yield spine, column, f"view {view.name}: entity"
        for column in view.columns:
            yield view.source, column, f"view {view.name}: {column}"
        for name, aggregate in view.aggregate.items():
            for expression in (aggregate.mean, aggregate.sum):
                if expression is not None:
                    yield view.source, expression.column, f"view {view.name}: {name}"
    yield label.source, label.from_.column, f"label {label.name} ({label.from_})"
