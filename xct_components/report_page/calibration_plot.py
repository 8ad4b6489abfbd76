"""The curve that turned display grey into line integrals, as a drawing: what was fitted, and to what."""

from __future__ import annotations

from typing import Any

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 520, 330, 46, 16, 16, 46
_COLOURS = {"lung": "p1", "mediastinum": "p2", "abdomen": "p3"}


def calibration_plot(response: dict[str, Any]) -> str:
    """An SVG of a film's response curve and its organs' quantiles.

    Args:
        response: of the film's record, with its ``curve``; its ``fit`` may be missing.
    """
    curve, fit = response["curve"], response.get("fit", {})
    black, span = curve["black"], curve["white"] - curve["black"]
    knots = [((value - black) / span, integral) for value, integral in curve["knots"]]
    greys, references = fit.get("quantiles_grey", {}), fit.get("quantiles_reference", {})
    pairs = {
        name: [(grey, reference) for grey, reference in zip(values, references[name], strict=True) if grey is not None]
        for name, values in greys.items()
        if name in references
    }
    top = max([integral for _, integral in knots] + [y for points in pairs.values() for _, y in points] + [1.0])
    path = " ".join(f"{_x(x):.1f},{_y(y, top):.1f}" for x, y in _dense(curve, knots))
    dots = "".join(
        f'<circle class="{_COLOURS.get(name, "p1")}" cx="{_x(x):.1f}" cy="{_y(y, top):.1f}" r="4"/>'
        for name, points in pairs.items()
        for x, y in points
    )
    return (
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Line integral over display grey: the '
        f'fitted curve and the quantiles of the organs">{_axes(top)}<polyline class="curve" points="{path}"/>{dots}'
        f"{_legend([name for name in _COLOURS if pairs.get(name)])}</svg>"
    )


def _dense(curve: dict[str, Any], knots: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The curve in small steps, through the knots of the record."""
    if not {"offset", "gain", "exponent"} <= set(curve):
        return knots
    greys = [step / 96 for step in range(97)]
    return [(grey, max(0.0, curve["offset"] + curve["gain"] * grey ** curve["exponent"])) for grey in greys]


def _x(grey: float) -> float:
    return _LEFT + grey * (_WIDTH - _LEFT - _RIGHT)


def _y(integral: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - integral / top * (_HEIGHT - _TOP - _BOTTOM)


def _axes(top: float) -> str:
    lines = []
    for step in range(int(top) + 1):
        y = _y(float(step), top)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{step}</text>')
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = "end" if share == 1.0 else "middle"
        lines.append(f'<text x="{_x(share):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="{anchor}">{share:g}</text>')
    middle = _x(0.5)
    lines.append(
        f'<text class="axis" x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">display grey, black to white</text>'
    )
    return "".join(lines)


def _legend(names: list[str]) -> str:
    lines = [
        f'<circle class="{_COLOURS[name]}" cx="{_LEFT + 18}" cy="{_TOP + 12 + 20 * row}" r="4"/>'
        f'<text x="{_LEFT + 30}" y="{_TOP + 16 + 20 * row}">{name}</text>'
        for row, name in enumerate(names)
    ]
    return "".join(lines)
