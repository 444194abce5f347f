"""The study's picture: which share of rollouts each judge has stopped by when, without harm and with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.release_judges import Floats

_COLOURS = ("#1f5fbf", "#c2571a", "#7a3fa0", "#3f8f4f")
_WIDTH, _HEIGHT, _LEFT, _TOP, _MINUTES = 330, 210, 46, 44, 30


def draw(file: Path, judges: Sequence[tuple[str, Floats, Floats]]) -> None:
    """Write an SVG with two panels.

    Parameters
    ----------
    judges
        Name, and the seconds at which each rollout was stopped without harm, and with it; infinite where it was not.
    """
    panels = (("No harm: 1 % errors in both arms", 1), ("Harm: 1 % becomes 5 %", 2))
    width = 2 * (_WIDTH + _LEFT) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_TOP + _HEIGHT + 78}" '
        'font-family="system-ui, sans-serif" font-size="12" role="img" '
        'aria-label="Share of rollouts stopped, by minutes, for four judges, without harm and with it">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for place, (title, column) in enumerate(panels):
        left = _LEFT + place * (_WIDTH + _LEFT + 10)
        parts += _axes(left, title)
        for colour, judge in zip(_COLOURS, judges, strict=False):
            parts.append(_curve(left, colour, judge[column]))
    for place, (colour, judge) in enumerate(zip(_COLOURS, judges, strict=False)):
        x, y = _LEFT + place * 150, _TOP + _HEIGHT + 62
        parts.append(f'<rect x="{x}" y="{y - 9}" width="18" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 24}" y="{y - 3}">{judge[0]}</text>')
    file.write_text("\n".join([*parts, "</svg>"]) + "\n")


def _axes(left: float, title: str) -> list[str]:
    bottom = _TOP + _HEIGHT
    parts = [f'<text x="{left}" y="{_TOP - 18}" font-weight="600">{title}</text>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - share * _HEIGHT
        parts.append(f'<line x1="{left}" y1="{y}" x2="{left + _WIDTH}" y2="{y}" stroke="#dde2e9"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end" fill="#555">{share:.0%}</text>')
    for minute in range(0, _MINUTES + 1, 5):
        x = left + minute / _MINUTES * _WIDTH
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" fill="#555">{minute}</text>')
    parts.append(
        f'<text x="{left + _WIDTH / 2}" y="{bottom + 34}" text-anchor="middle" fill="#555">minutes at 5 % weight</text>'
    )
    return parts


def _curve(left: float, colour: str, stopped_s: Floats) -> str:
    seconds = np.arange(0, _MINUTES * 60 + 1, 15)
    shares = np.searchsorted(np.sort(stopped_s), seconds, side="right") / len(stopped_s)
    points = " ".join(
        f"{left + s / (60 * _MINUTES) * _WIDTH:.1f},{_TOP + _HEIGHT * (1 - share):.1f}"
        for s, share in zip(seconds, shares, strict=True)
    )
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
