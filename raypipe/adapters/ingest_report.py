"""A report of each generation beside the lake's tables: HTML to read, JSON to compute with.

Written after the decision, and only told about when it cannot be written: a report never stops data. Knows where
reports are; does not know what is in them.
"""

from __future__ import annotations

from collections.abc import Callable

from raypipe.adapters.lake.store import Store
from raypipe.errors import Unavailable
from raypipe.reports.ingest import IngestReport
from raypipe.reports.page import page
from raypipe.telemetry import event


def report_uri(store: Store, source: str, generation: int, ending: str = "html") -> str:
    """Return where the report of a generation is, or would be."""
    return store.lake("reports", "ingest", source, f"{generation}.{ending}")


def write_report(store: Store, source: str, generation: int, make: Callable[[], IngestReport]) -> str:
    """Return where the report's page is; empty when it could not be made or written, which is said.

    Parameters
    ----------
    make
        Makes the report: here, so that a defect in it stops no data either.
    """
    try:
        report = make()
        store.write(report_uri(store, source, generation, "json"), report.model_dump_json(indent=2).encode())
        uri = report_uri(store, source, generation)
        store.write(uri, page(report).encode())
    except Exception as error:  # noqa: BLE001 - the generation is decided: whatever went wrong here must not undo it
        event(
            "ingest",
            f"{source}: the report of generation {generation} could not be written ({type(error).__name__}: "
            f"{str(error)[:300]}): the generation itself is decided and recorded, and nothing of it is lost",
        )
        return ""
    return uri


def reports_of(store: Store, source: str) -> dict[int, str]:
    """Return the pages about a source that exist, by generation."""
    try:
        found = store.listing(store.lake("reports", "ingest", source))
    except Unavailable as error:
        if error.system == "directory":
            return {}  # A directory comes to be with its first report.
        raise
    pages = (o.uri for o in found if o.uri.endswith(".html"))
    return {int(uri.rsplit("/", 1)[1].removesuffix(".html")): uri for uri in pages}


def newest_report(store: Store, source: str, generation: int) -> str:
    """Return where the report of a generation is; empty where there is none."""
    uri = report_uri(store, source, generation)
    return uri if generation and store.exists(uri) else ""
