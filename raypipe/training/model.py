"""The models, and one pass of training. Knows torch; does not know where rows come from or how workers meet.

A model maps float32 inputs (n, d) to logits (n,). Randomness is seeded inside and leaves torch's global state alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import nn

from raypipe.errors import ConfigError
from raypipe.training.code import CodePackage, load
from raypipe.training.spec import Entrypoint, ModelSpec, TabularMlp


class Mlp(nn.Module):
    """A perceptron with ReLU, layer normalisation and dropout."""

    def __init__(self, inputs: int, spec: TabularMlp) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(spec.depth):
            layers += [nn.Linear(inputs if i == 0 else spec.width, spec.width), nn.LayerNorm(spec.width), nn.ReLU()]
            layers.append(nn.Dropout(spec.dropout))
        layers.append(nn.Linear(spec.width if spec.depth else inputs, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n,) of inputs (n, d)."""
        logits: torch.Tensor = self.layers(x).squeeze(-1)
        return logits


def build(spec: ModelSpec, inputs: int, code: CodePackage | None = None, seed: int = 0) -> nn.Module:
    """Return a model with seeded initial weights.

    Parameters
    ----------
    inputs
        Number of columns of the matrix it reads.
    code
        Source of an `entrypoint` model; not used by the others.

    Raises
    ------
    ConfigError
        When an `entrypoint` model comes without its code, or its function does not return a torch module.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        match spec:
            case TabularMlp():
                return Mlp(inputs, spec)
            case Entrypoint():
                if code is None:
                    raise ConfigError(
                        f"`{spec.entrypoint}` came without its source: collect it first", key="entrypoint"
                    )
                model = load(code)(inputs, **spec.parameters)
                if not isinstance(model, nn.Module):
                    raise ConfigError(
                        f"`{spec.entrypoint}` returned a {type(model).__name__}: return a torch.nn.Module that maps "
                        f"inputs (n, {inputs}) to logits (n,)",
                        key="entrypoint",
                    )
                return model
            case _:
                assert_never(spec)


def check_shape(spec: ModelSpec, inputs: int, code: CodePackage | None = None) -> None:
    """Return if such a model gives one logit for each row, also for one row alone.

    Raises
    ------
    ConfigError
        When it gives anything else, or cannot be built.
    """
    # A model of its own: a call finishes a lazy module and may move buffers, and the one that trains must not notice.
    module = build(spec, inputs, code).eval()
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        for rows in (2, 1):
            found = tuple(module(torch.zeros(rows, inputs)).shape)
            if found != (rows,):
                raise ConfigError(f"the model {wrong_shape(found, rows)}", key="entrypoint")


def wrong_shape(found: tuple[int, ...], rows: int) -> str:
    """Return what is wrong with a module that gives `found` for so many rows, and what to do."""
    return (
        f"gives shape {found} for {rows} {'row' if rows == 1 else 'rows'}, expected ({rows},): let it map inputs "
        "(n, d) to logits (n,) for every n, 1 too, with `.squeeze(-1)` where it has `.squeeze()` or no squeeze at all"
    )


def learning_rate(spec: ModelSpec, epoch: int) -> float:
    """Return the rate of an epoch (from 0), which falls from the spec's rate along half a cosine.

    Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5, with one cycle and a lower end of 0.
    """
    return spec.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / spec.epochs))


@dataclass(frozen=True, slots=True)
class EpochLoss:
    """Mean binary cross entropy in nats over the rows of one pass; NaN without rows."""

    loss: float
    rows: int


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    seed: int,
) -> EpochLoss:
    """Return the loss of one pass over `batches`, during which the model learned.

    Parameters
    ----------
    batches
        (inputs float32 (n, d), labels float32 (n,)) on the model's device.
    seed
        Of dropout. The same model, batches and seed give the same weights on one CPU thread count.
    """
    loss_of = nn.BCEWithLogitsLoss()
    model.train()
    total, rows = torch.zeros(()), 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for x, y in batches:
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.detach().cpu() * len(y)
            rows += len(y)
    return EpochLoss(float(total) / rows if rows else float("nan"), rows)
