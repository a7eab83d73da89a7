"""The dashboard's picture is a PNG of the right size, the same for the same rows."""

import pytest

from evaluation.plots import data_uri, loss_curve_png


def test_a_curve_becomes_the_same_png_twice():
    pytest.importorskip("matplotlib")
    rows = [{"step": step, "loss": 9 / step} for step in range(1, 50)] + [{"step": 49, "validation": {"all": 0.3}}]
    png = loss_curve_png(rows)
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(png[16:20], "big") == 960
    assert png == loss_curve_png(rows) and loss_curve_png([]) != png and data_uri(png).startswith("data:image/png;base64,iVBOR")
