"""Curves as PNG, for places that show no SVG: the artifacts of the scheduler's dashboard."""

import base64
import io
from collections.abc import Iterable, Mapping
from typing import Any

from evaluation.curves import ALL, points, validation

_INCHES, _DPI = (8.0, 4.2), 120


def loss_curve_png(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """PNG of the training and validation loss, in nats per token, of the rows of `metrics.jsonl`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(rows)
    training, held_out = points(rows, "loss"), validation(rows).get(ALL, [])
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    if training:
        axes.plot(*zip(*training, strict=True), color="#24618f", linewidth=0.9, label="training")
    if held_out:
        axes.plot(*zip(*held_out, strict=True), color="#c2542d", linewidth=1.6, marker="o", markersize=3, label="validation")
    axes.set(xlabel="step", ylabel="loss, nats per token")
    axes.grid(axis="y", color="#e4e1d9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if training or held_out:
        axes.legend(frameon=False)
    out = io.BytesIO()
    FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})
    return out.getvalue()


def data_uri(png: bytes) -> str:
    """A PNG as the address of an image, as Markdown artifacts show it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
