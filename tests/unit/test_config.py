from pathlib import Path

import pytest

from raypipe.config import load, load_environment
from raypipe.errors import ConfigError

CONTRACT = """
apiVersion: v3.0.2
kind: DataContract
id: trips
version: 1.0.0
status: active
schema:
  - name: trips
    logicalType: object
    customProperties:
      - {property: eventAt, value: started_at}
    properties:
      - {name: trip, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: started_at, logicalType: timestamp, required: true}
      - {name: city, logicalType: string}
      - {name: minutes, logicalType: number}
"""
PIPELINE = """\
name: trips
sources:
  trips:
    contract: trips.odcs.yaml
    feeds:
      - {kind: objects, uri: /data/trips, format: csv}
features:
  spine: trips
  prediction_time: started_at
  request: [city]
  views:
    - name: town
      entity: [city]
      source: trips
      aggregate:
        minutes_7d: {mean: minutes, over: 7d}
label: {name: long, source: trips, from: minutes > 30, matures_within: 1d}
training:
  model: {kind: tabular_mlp}
validation:
  absolute: {auc: ">= 0.6"}
"""


@pytest.fixture
def write(tmp_path):
    (tmp_path / "trips.odcs.yaml").write_text(CONTRACT)

    def to_file(text=PIPELINE):
        file = tmp_path / "pipeline.yaml"
        file.write_text(text)
        return file

    return to_file


def refusal(file, overrides=()):
    with pytest.raises(ConfigError) as caught:
        load(file, overrides)
    return str(caught.value)


def test_a_right_file_loads_with_its_contracts(write):
    pipeline = load(write())
    assert pipeline.contracts["trips"].key == ("trip",)
    assert pipeline.spec.features.feature_names == ("city", "town__minutes_7d")


def test_the_digest_changes_with_the_meaning_and_not_with_the_layout(write):
    first = load(write()).digest
    assert (
        load(write(PIPELINE.replace("  model: {kind: tabular_mlp}", "  model:\n    kind: tabular_mlp"))).digest == first
    )
    assert load(write(), ["training.seed=8"]).digest != first


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("contract: trips", "contrakt: trips", ":4: unknown key `contrakt`: did you mean `contract`?"),
        ("  prediction_time", "  prediction_tim", ":9: unknown key `prediction_tim`: did you mean `prediction_time`?"),
        ("kind: tabular_mlp}", "kind: tabular_mlp, widht: 3}", ":19: unknown key `widht`: did you mean `width`?"),
        (
            "kind: tabular_mlp",
            "kind: tabular_mpl",
            ":19: `training.model.kind` is 'tabular_mpl': did you mean `tabular_mlp`?",
        ),
        ("over: 7d", "over: 7 days", ":16: `features.views.0.aggregate.minutes_7d.over`: '7 days' is not a duration"),
        ("spine: trips", "spine: trip", ":1: `features.spine` names the source `trip`: did you mean `trips`?"),
        (
            "format: csv",
            "format: xml",
            ":6: `sources.trips.feeds.0.format`: Input should be 'parquet', 'csv', 'jsonl' or 'avro'",
        ),
        ("request: [city]", "request: [town]", "`features.request` uses the column `town`, which the contract of"),
        ("name: long, ", "", ":17: `label.name` is required"),
        ("name: trips\n", "name: [\n", ":3: this is not YAML"),
    ],
)
def test_a_wrong_file_gets_one_error_with_line_and_nearest_key(write, old, new, sentence):
    file = write(PIPELINE.replace(old, new, 1))
    text = refusal(file)
    assert text.startswith(str(file))
    assert sentence in text
    assert "\n" not in text


def test_an_unknown_key_is_said_before_what_follows_from_it(write):
    assert "did you mean `sources`" in refusal(write(PIPELINE.replace("sources:", "sorces:")))


def test_a_window_in_which_labels_cannot_arrive_is_refused_where_quality_is_a_reason(write):
    text = refusal(write(), ["monitor.window=6h"])
    assert "`monitor.window` is 6h, and labels take up to 1d" in text
    assert "make the window longer, leave it out" in text
    load(write(), ["monitor.window=6h", "triggers.any_of=[{kind: drift, of: score}]"])
    load(write(), ["monitor.window=1d"])
    assert load(write()).spec.monitor.window is None


def test_a_column_that_is_compared_with_its_past_is_one_of_the_contract(write):
    history = "    history: {null_rate: {columns: [minuts]}}\nfeatures:"
    with pytest.raises(
        ConfigError, match=r"`sources.trips.history.null_rate.columns` names the column `minuts`.*minutes"
    ):
        load(write(PIPELINE.replace("features:", history, 1)))


@pytest.mark.parametrize("sampler", ["random", "optuna"])
def test_a_search_that_could_try_a_model_that_cannot_be_built_is_refused(write, sampler):
    def search(dropout):
        return [f"search={{sampler: {sampler}, space: {{depth: {{int_uniform: [0, 2]}}, dropout: {dropout}}}}}"]

    file = write()
    load(file, search("{uniform: [0.0, 0.5]}"))
    text = refusal(file, search("{choice: [0.2, 1.5]}"))
    assert text.startswith(f"{file}: `search.space` gives {{")
    assert "'dropout': 1.5" in text


def test_an_override_is_checked_like_the_file(write):
    assert "unknown key `sede`: did you mean `seed`?" in refusal(write(), ["training.sede=8"])
    assert "write KEY=VALUE" in refusal(write(), ["training.seed"])


def test_an_override_needs_no_quotes_that_the_shell_would_take(write):
    limit = load(write(), ["validation.absolute.auc=>= 0.9"]).spec.validation.absolute["auc"]
    assert (limit.operator, limit.value) == (">=", 0.9)


def test_an_unknown_environment_is_said_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"no environment `locl` .* did you mean `local`"):
        load_environment("locl")


def test_missing_files_are_said_with_their_role(write, tmp_path):
    assert "cannot be read" in refusal(tmp_path / "none.yaml")
    text = refusal(write(PIPELINE.replace("trips.odcs.yaml", "none.odcs.yaml")))
    assert "the contract of source `trips` cannot be read" in text


def test_a_list_where_keys_belong_is_said(write):
    assert ":1: expected keys and values, found list" in refusal(write("- a\n"))


def test_the_environments_of_the_repository_load(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    assert load_environment("local").storage.kind == "embedded"
    assert load_environment("cluster").storage.kind == "s3"
    with pytest.raises(ConfigError, match=r"configs/env/nowhere\.yaml"):
        load_environment("nowhere")


def test_an_entrypoint_is_read_from_beside_the_file(write, tmp_path):
    (tmp_path / "mymodel.py").write_text("def build(inputs):\n    return None\n")
    file = write(PIPELINE.replace("kind: tabular_mlp", "kind: entrypoint, entrypoint: 'mymodel:build'"))
    assert load(file).code.files[0][0] == "mymodel.py"


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("trips.city", None),
        ("towns.name", "0 sources of the pipeline have a schema object `towns`"),
        ("trips.minutes", "no value could be equal"),
    ],
)
def test_a_relationship_leads_to_a_source_of_the_pipeline(write, to, said):
    file = write()
    contract = file.parent / "trips.odcs.yaml"
    contract.write_text(CONTRACT.replace("name: city,", f"name: city, relationships: [{{to: {to}}}],"))
    if said is None:
        assert load(file).contracts["trips"].table_rules
        return
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.message.startswith(f"{file}: relationship(city -> {to}): ")
    assert said in caught.value.message
