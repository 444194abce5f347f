"""Small pictures as inline SVG: bars of numbers, nothing else. Knows numbers and labels; does not know the page.

Every picture says its content in words (`aria-label`), and each bar in a title that shows when it is pointed at.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

_WIDTH, _HEIGHT = 180.0, 36.0
# For a reader that does not apply the page's style to pictures, such as mail.
_FILLS = {"bar": "#7d94b5", "now": "#1f5fbf"}


def bars(values: Sequence[float], titles: Sequence[str], label: str, *, last: bool = False) -> Markup:
    """Return a picture of one bar for each value, the highest as high as the picture.

    Parameters
    ----------
    values
        At least 0.
    titles
        What each bar says, of the same length.
    label
        What the whole picture says.
    last
        Whether the last bar is the one that the page is about.
    """
    highest = max(values, default=0.0) or 1.0
    step = _WIDTH / max(1, len(values))
    drawn = []
    for place, (value, title) in enumerate(zip(values, titles, strict=True)):
        height = max(_HEIGHT * value / highest, 0.75)
        style = "now" if last and place == len(values) - 1 else "bar"
        drawn.append(
            Markup(
                '<rect class="{}" fill="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title>'
                "</rect>"
            ).format(style, _FILLS[style], place * step, _HEIGHT - height, max(step - 1, 0.5), height, title)
        )
    return _picture(drawn, label)


def share(rate: float, label: str) -> Markup:
    """Return a picture of a share, 0..1, as the filled part of a line."""
    width = _WIDTH * min(max(rate, 0.0), 1.0)
    return Markup(
        '<svg class="share" preserveAspectRatio="none" role="img" aria-label="{}" viewBox="0 0 {:.0f} 6">'
        '<rect class="ground" fill="#dde2e9" width="{:.0f}" height="6"/>'
        '<rect class="bar" fill="{}" width="{:.1f}" height="6"/></svg>'
    ).format(label, _WIDTH, _WIDTH, _FILLS["bar"], width)


def _picture(drawn: Sequence[Markup], label: str) -> Markup:
    opening = Markup('<svg class="bars" role="img" aria-label="{}" viewBox="0 0 {:.0f} {:.0f}">').format(
        label, _WIDTH, _HEIGHT
    )
    return opening + Markup("").join(drawn) + Markup("</svg>")
