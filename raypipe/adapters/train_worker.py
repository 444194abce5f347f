"""What one Ray Train worker does: its share of the rows, epoch by epoch, with a checkpoint after each.

Run again after a worker died, it goes on from the last checkpoint. Knows Ray Train; what an epoch is, is
`raypipe.training.model`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import ray
import ray.train
import torch
from ray.train import Checkpoint
from ray.train.torch import get_device, prepare_model

from raypipe.stats.metrics import binary_metrics
from raypipe.training.code import CodePackage
from raypipe.training.model import build, check_shape, learning_rate, train_epoch
from raypipe.training.spec import ModelSpec

# Rows are shuffled within windows of this many: 64 Ki rows of 100 inputs are 26 MB.
WINDOW_ROWS = 65_536
_STATE = "state.pt"


class Progress(Protocol):
    """Takes (epoch, metrics); a `ray.util.queue.Queue` does."""

    def put(self, report: tuple[int, dict[str, float]]) -> None:
        """Pass it on."""


@dataclass(frozen=True, slots=True)
class Work:
    """What every worker is told.

    Parameters
    ----------
    model
        The architecture with its learning rate, epochs and batch size.
    inputs
        Columns of the matrix.
    seed
        Of weights, dropout and row order.
    code
        Source of an entrypoint model.
    progress
        Where worker 0 puts (epoch, metrics) after each epoch.
    held_out
        Reference to (x, y) of rows on which a trial is measured after each epoch; None for a candidate, which is
        measured by others, and which alone leaves checkpoints.
    """

    model: ModelSpec
    inputs: int
    seed: int
    code: CodePackage | None
    progress: Progress
    held_out: ray.ObjectRef[tuple[np.ndarray, np.ndarray]] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What worker 0 returns: the weights by name and each epoch's metrics."""

    weights: dict[str, np.ndarray]
    epochs: tuple[dict[str, float], ...]


def train_share(config: dict[str, Work]) -> Learned:
    """Return what was learned, the same on every worker."""
    work = config["work"]
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    device = get_device()
    # Trained first, it would be refused hours later.
    check_shape(work.model, work.inputs, work.code)
    module = build(work.model, work.inputs, work.code, work.seed)
    state = _last_state(device)
    if state:
        module.load_state_dict(state["model"])
    model = prepare_model(module)
    optimizer = torch.optim.AdamW(model.parameters(), lr=work.model.learning_rate)
    epochs: list[dict[str, float]] = []
    if state:
        optimizer.load_state_dict(state["optimizer"])
        epochs = state["epochs"]
    held_out = ray.get(work.held_out) if work.held_out is not None else None
    batch = max(1, work.model.batch_size // workers)
    for epoch in range(len(epochs), work.model.epochs):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(work.model, epoch)
        seed = work.seed * 1_000_003 + epoch * workers + rank
        done = train_epoch(model, optimizer, _batches(batch, seed, device), seed=seed)
        epochs.append({"train_loss": _mean_over_workers(done.loss, done.rows, workers, device)})
        if held_out:
            epochs[-1] |= _measured(module, held_out[0], held_out[1], device)
        _report(rank, module, optimizer, epochs, keep=not held_out)
        if rank == 0:
            work.progress.put((epoch, epochs[-1]))
    return Learned({name: value.cpu().numpy() for name, value in module.state_dict().items()}, tuple(epochs))


def _batches(size: int, seed: int, device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    order = np.random.default_rng(seed)
    share = ray.train.get_dataset_shard("train")
    for window in share.iter_batches(batch_size=WINDOW_ROWS, batch_format="numpy", prefetch_batches=1):
        shuffled = order.permutation(len(window["y"]))
        x, y = torch.from_numpy(window["x"][shuffled]).to(device), torch.from_numpy(window["y"][shuffled]).to(device)
        yield from zip(torch.split(x, size), torch.split(y, size), strict=True)


def _measured(module: torch.nn.Module, x: np.ndarray, y: np.ndarray, device: torch.device) -> dict[str, float]:
    """Return the metrics on held-out rows, those that can be told."""
    module.eval()
    with torch.inference_mode():
        logits = module(torch.from_numpy(x).to(device))
    scores = torch.sigmoid(logits.to(torch.float64)).cpu().numpy()
    found = binary_metrics(y.astype(np.float64), scores, 0.5)
    return {name: value for name, value in found.items() if value is not None}


def _mean_over_workers(loss: float, rows: int, workers: int, device: torch.device) -> float:
    if workers == 1:
        return loss
    sums = torch.tensor([loss * rows, float(rows)], dtype=torch.float64, device=device)
    torch.distributed.all_reduce(sums)
    return float(sums[0] / sums[1])


def _report(
    rank: int,
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    epochs: list[dict[str, float]],
    *,
    keep: bool,
) -> None:
    if rank or not keep:
        ray.train.report(epochs[-1])
        return
    with tempfile.TemporaryDirectory() as directory:
        state = {"model": module.state_dict(), "optimizer": optimizer.state_dict(), "epochs": epochs}
        torch.save(state, Path(directory) / _STATE)
        ray.train.report(epochs[-1], checkpoint=Checkpoint.from_directory(directory))


def _last_state(device: torch.device) -> dict[str, Any] | None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as directory:
        # `weights_only` reads tensors and plain containers, and runs no code that the file could name.
        state: dict[str, Any] = torch.load(Path(directory) / _STATE, map_location=device, weights_only=True)
    return state
