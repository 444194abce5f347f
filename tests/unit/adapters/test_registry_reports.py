"""A run names the quality reports of the data that it learned from."""

import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about MLflow's own types, while it is imported
    import mlflow
    from mlflow import MlflowClient

    from raypipe.adapters.registry_mlflow import MlflowRegistry

# About MLflow's own use of SQLAlchemy: its server runs in this process.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_a_run_is_tagged_with_the_reports_that_exist(tmp_path):
    client = MlflowClient(uri := f"sqlite:///{tmp_path}/mlflow.db")
    run_id = client.create_run(client.create_experiment("m")).info.run_id
    try:
        MlflowRegistry(uri).link_reports(run_id, {"trips": "s3://lake/reports/ingest/trips/1.html", "weather": ""})
    finally:
        # A registry's address is that of the whole process.
        mlflow.set_tracking_uri(None)
    tags = {k: v for k, v in client.get_run(run_id).data.tags.items() if k.startswith("raypipe.")}
    assert tags == {"raypipe.report.trips": "s3://lake/reports/ingest/trips/1.html"}
