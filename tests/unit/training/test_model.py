"""The models learn, repeatably, and leave torch's global randomness alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from raypipe.errors import ConfigError
from raypipe.training.code import CodePackage
from raypipe.training.model import build, check_shape, learning_rate, train_epoch
from raypipe.training.spec import Entrypoint, TabularMlp

SPEC = TabularMlp(width=8, depth=2, dropout=0.2, learning_rate=0.02, epochs=10, batch_size=64)

ENTRYPOINT = Entrypoint(kind="entrypoint", entrypoint="own:Own")


def squeezing(root: Path, squeeze: str) -> CodePackage:
    """Return a lazy model that ends with a method of tensors."""
    (root / "own.py").write_text(
        "from torch import nn\n"
        "class Own(nn.Module):\n"
        "    def __init__(self, inputs):\n"
        "        super().__init__()\n"
        "        self.line = nn.LazyLinear(1)\n"
        "    def forward(self, x):\n"
        f"        return self.line(x).{squeeze}\n"
    )
    return CodePackage.of("own:Own", root)


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    x = torch.randn(512, 4, generator=torch.Generator().manual_seed(1))
    y = (x[:, 0] + x[:, 1] > 0).float()
    return list(zip(x.split(64), y.split(64), strict=True))


def trained(seed: int, epochs: int = 10, elsewhere: int = 0) -> tuple[torch.nn.Module, list[float]]:
    with torch.random.fork_rng():
        torch.manual_seed(elsewhere)
        model = build(SPEC, 4, seed=seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=SPEC.learning_rate)
        return model, [train_epoch(model, optimizer, batches(), seed=seed + e).loss for e in range(epochs)]


def test_the_loss_falls() -> None:
    _, losses = trained(7)
    assert losses[-1] < 0.3 < losses[0]


def test_the_same_seed_gives_the_same_weights_whatever_the_global_one_and_another_does_not() -> None:
    (one, _), (again, _), (other, _) = trained(7, 2), trained(7, 2, elsewhere=1), trained(8, 2)
    for name, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(one.state_dict()["layers.0.weight"], other.state_dict()["layers.0.weight"])


def test_training_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    model = build(SPEC, 4)
    train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.1), batches(), seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_depth_zero_is_logistic_regression() -> None:
    assert sum(p.numel() for p in build(TabularMlp(depth=0), 4).parameters()) == 5


def test_one_row_gives_one_logit() -> None:
    assert build(SPEC, 4).eval()(torch.zeros(1, 4)).shape == (1,)


@pytest.mark.parametrize(
    ("squeeze", "said"),
    [
        ("squeeze()", r"shape \(\) for 1 row, expected \(1,\): .* `\.squeeze\(-1\)`"),
        ("clone()", r"shape \(2, 1\) for 2 rows, expected \(2,\)"),
    ],
)
def test_a_model_that_does_not_give_each_row_one_logit_is_refused_before_it_trains(
    tmp_path: Path, squeeze: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        check_shape(ENTRYPOINT, 4, squeezing(tmp_path, squeeze))


def test_a_model_that_gives_each_row_one_logit_may_train_and_no_randomness_is_used_up(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    check_shape(SPEC, 4)
    check_shape(ENTRYPOINT, 4, squeezing(tmp_path, "squeeze(-1)"))
    assert torch.equal(torch.get_rng_state(), before)


def test_no_rows_have_no_loss() -> None:
    model = build(SPEC, 4)
    done = train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.1), [], seed=0)
    assert math.isnan(done.loss)
    assert done.rows == 0


def test_the_learning_rate_starts_at_the_specs_and_falls() -> None:
    rates = [learning_rate(SPEC, e) for e in range(10)]
    assert rates[0] == SPEC.learning_rate
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0


def test_an_entrypoint_without_its_source_is_refused() -> None:
    with pytest.raises(ConfigError, match="without its source"):
        build(Entrypoint(kind="entrypoint", entrypoint="a:b"), 4)


def test_an_entrypoint_that_returns_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("def build(inputs):\n    return inputs\n")
    code = CodePackage.of("wrong:build", tmp_path)
    with pytest.raises(ConfigError, match=r"returned a int: return a torch\.nn\.Module"):
        build(Entrypoint(kind="entrypoint", entrypoint="wrong:build"), 4, code)
