"""`raypipe explain` and `raypipe trace`: from a prediction, a version or a rollout back to what it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.tree import Tree

from raypipe.environment import endpoints, home

if TYPE_CHECKING:
    from raypipe.adapters.lake.lineage import Lineages

app = typer.Typer()

Id = Annotated[
    str, typer.Argument(help="A request id, a version such as flights/3, or a rollout such as flights-7.", metavar="ID")
]
Env = Annotated[
    str | None, typer.Option(help="Environment: a name below configs/env, or a file.", show_default="the one up")
]


@app.command()
def explain(subject: Id, env: Env = None) -> None:
    """Say in words, with the numbers, why this answer, version or rollout came out as it did."""
    console = Console(highlight=False, soft_wrap=True)
    for line in _lineages(env).explain(subject):
        console.print(line, markup=False)


@app.command()
def trace(subject: Id, env: Env = None) -> None:
    """Draw where it came from: decisions, tracked run, data versions, contracts, code."""
    tree: Tree | None = None
    branches: list[Tree] = []
    for depth, text in _lineages(env).trace(subject):
        if tree is None:
            tree = Tree(text)
            branches = [tree]
            continue
        del branches[depth:]
        branches.append(branches[depth - 1].add(text))
    Console(highlight=False).print(tree)


def _lineages(env: str | None) -> Lineages:
    from raypipe.adapters.lake.lineage import Lineages
    from raypipe.adapters.lake.store import Store
    from raypipe.adapters.registry_mlflow import MlflowRegistry
    from raypipe.local.state import environment_in_force

    where = endpoints(environment_in_force(env, home()), home())
    return Lineages(Store(where.store), MlflowRegistry(where.mlflow_uri))
