"""Splitting by time, the models, and the judgement on a trained one. Pure, but for torch in `model`."""
