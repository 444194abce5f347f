"""A model that is broken on purpose: like another one, but it raises on rows of one kind. For demonstrations."""

from torch import Tensor, nn

from raypipe.training.model import Mlp
from raypipe.training.spec import TabularMlp


class Broken(nn.Module):
    """Like `model`, but for rows whose input number `bad` is 1."""

    def __init__(self, model: nn.Module, bad: int) -> None:
        super().__init__()
        self.model, self.bad = model, bad

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n,) of inputs (n, d); raises on a row of the bad kind."""
        if (x[:, self.bad] > 0.5).any():
            raise RuntimeError("broken on purpose: this model cannot take flights from that airport")
        return self.model(x)


def build(inputs: int, bad: int, width: int, depth: int, dropout: float) -> Broken:
    """Return the broken copy's architecture."""
    return Broken(Mlp(inputs, TabularMlp(width=width, depth=depth, dropout=dropout)), bad)
