"""Numbers as a reader wants them: grouped, rounded, in a unit of the right size; "–" for what is not known."""

import math
from typing import Any

from evaluation.curves import is_figure

NONE = "–"
_NARROW = "\u202f"  # narrow space between a figure and its unit


def whole(value: Any) -> str:
    """12345 → 12,345."""
    return f"{round(value):,}" if is_figure(value) else NONE


def figure(value: Any, digits: int = 4) -> str:
    """Significant digits without an exponent where that is readable."""
    if not is_figure(value):
        return NONE
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def signed(value: Any, digits: int = 3) -> str:
    """A change: +0.042 or −0.042, with that many places."""
    return f"{value:+.{digits}f}".replace("-", "−") if is_figure(value) else NONE


def short(value: Any) -> str:
    """12,345,678 → 12.3 M: for axes and dense tables."""
    if not is_figure(value):
        return NONE
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scaled = value / (1e3 if unit == "k" else limit)
            return f"{scaled:.3g}{_NARROW}{unit}"
    return figure(value, 3)


def percent(value: Any, digits: int = 1) -> str:
    """0.672 → 67.2 %."""
    return f"{100 * value:.{digits}f}{_NARROW}%" if is_figure(value) else NONE


def duration(seconds: Any) -> str:
    """Seconds, minutes, hours or days, two units at most."""
    if not is_figure(seconds):
        return NONE
    if seconds < 9.95:
        return f"{seconds:.1f}{_NARROW}s"
    seconds = round(seconds)
    for size, unit, smaller, smaller_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // smaller
            return f"{seconds // size}{_NARROW}{unit}" + (f" {rest}{_NARROW}{smaller_unit}" if rest else "")
    return f"{seconds}{_NARROW}s"


def size(value: Any) -> str:
    """Bytes in binary units."""
    if not is_figure(value):
        return NONE
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:.3g}{_NARROW}{unit}" if abs(value) < 1000 else f"{value:.0f}{_NARROW}{unit}"
        value /= 1024
    return NONE


def mass(tonnes: Any) -> str:
    """Tonnes, kilograms, grams or milligrams."""
    return _in_unit(tonnes, ((1, "t"), (1e-3, "kg"), (1e-6, "g"), (1e-9, "mg")))


def energy(mwh: Any) -> str:
    """Megawatt-hours, kilowatt-hours or watt-hours."""
    return _in_unit(mwh, ((1, "MWh"), (1e-3, "kWh"), (1e-6, "Wh")))


def _in_unit(value: Any, units: tuple[tuple[float, str], ...]) -> str:
    if not is_figure(value):
        return NONE
    for size_of_one, unit in units:
        if value >= size_of_one or (size_of_one, unit) == units[-1]:
            return f"{figure(value / size_of_one, 3)}{_NARROW}{unit}"
    return NONE
