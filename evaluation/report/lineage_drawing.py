"""The lineage of a run drawn as a graph in layers, raw bytes at the top and scores at the bottom.

The layout is Sugiyama's: each stage stands one layer below its lowest input, long edges pass through places of their
own in the layers between, a few sweeps of barycentres order each layer, and stages are drawn towards their neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from evaluation.report.markup import Markup, join, tag

Edge = tuple[str, str]  # (input, stage)
_WIDTH, _HEIGHT, _LAYER, _GAP, _PASS = 152, 34, 66, 16, 16  # a box, the step between layers, room between boxes, a passing edge
_SWEEPS = 12  # to order the layers
_PULLS = 80  # to place the boxes; a long chain needs many to become straight


@dataclass(frozen=True)
class Node:
    """One box: the stage's name, a second line, a CSS class for its state."""

    name: str
    detail: str
    kind: str


@dataclass
class _Place:
    layer: int
    real: bool
    above: list["_Place"] = field(default_factory=list)
    below: list["_Place"] = field(default_factory=list)
    x: float = 0.0

    @property
    def width(self) -> float:
        return _WIDTH + _GAP if self.real else _PASS


def drawing(nodes: Sequence[Node], edges: Sequence[Edge]) -> Markup:
    """SVG of the graph; edges that name no node, and those that would close a circle, are left out."""
    names = [node.name for node in nodes]
    edges = _acyclic(names, [edge for edge in dict.fromkeys(edges) if edge[0] in names and edge[1] in names])
    places, routes, layers = _places(names, edges)
    _order(layers)
    _spread(layers)
    left = min((place.x - place.width / 2 for layer in layers for place in layer), default=0.0)
    right = max((place.x + place.width / 2 for layer in layers for place in layer), default=0.0)
    for layer in layers:
        for place in layer:
            place.x -= left
    drawn = join([_edge(route) for route in routes.values()], [_box(node, places[node.name]) for node in nodes])
    width, height = right - left, len(layers) * _LAYER - (_LAYER - _HEIGHT) + 4
    return tag(
        "svg",
        drawn,
        viewBox=f"0 0 {width:.0f} {height}",
        style=f"width:{width:.0f}px",
        role="img",
        aria_label="lineage of the run",
        class_="lineage",
    )


def _acyclic(names: Sequence[str], edges: Sequence[Edge]) -> list[Edge]:
    kept: list[Edge] = []
    reached: dict[str, set[str]] = {name: {name} for name in names}  # everything below a stage
    for start, end in edges:
        if start in reached[end]:
            continue
        kept.append((start, end))
        for below in reached.values():
            if start in below:
                below |= reached[end]
    return kept


def _layer_of(names: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Below the lowest input; then down as far as the highest reader allows, which shortens edges."""
    layer = dict.fromkeys(names, 0)
    for _ in names:
        for start, end in edges:
            layer[end] = max(layer[end], layer[start] + 1)
    for _ in names:
        for name in names:
            readers = [layer[end] for start, end in edges if start == name]
            if readers:
                layer[name] = min(readers) - 1
    return layer


def _places(
    names: Sequence[str], edges: Sequence[Edge]
) -> tuple[dict[str, _Place], dict[Edge, list[_Place]], list[list[_Place]]]:
    layer = _layer_of(names, edges)
    layers: list[list[_Place]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    places = {name: _Place(layer[name], True) for name in names}
    for place in places.values():
        layers[place.layer].append(place)
    routes = {}
    for start, end in edges:
        between = [_Place(at, False) for at in range(layer[start] + 1, layer[end])]
        for place in between:
            layers[place.layer].append(place)
        route = [places[start], *between, places[end]]
        for upper, lower in pairwise(route):
            upper.below.append(lower)
            lower.above.append(upper)
        routes[start, end] = route
    return places, routes, layers


def _order(layers: list[list[_Place]]) -> None:
    for layer in layers:
        for at, place in enumerate(layer):
            place.x = float(at)
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        for layer in layers if downwards else reversed(layers):
            centre = {id(place): _mean(place.above if downwards else place.below, place.x) for place in layer}
            layer.sort(key=lambda place: centre[id(place)])
            for at, place in enumerate(layer):
                place.x = at - (len(layer) - 1) / 2


def _spread(layers: list[list[_Place]]) -> None:
    """Give x in pixels: towards the mean of the neighbours, in order, never closer than the widths allow."""
    for layer in layers:
        for place in layer:
            place.x *= _WIDTH + _GAP
    for sweep in range(_PULLS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = [_mean(place.above + place.below, place.x) for place in layer]
            for place, x in zip(layer, _apart(wanted, [place.width for place in layer]), strict=True):
                place.x = x


def _apart(wanted: list[float], widths: list[float]) -> list[float]:
    """The places nearest to the wanted ones (least squares) that keep their order and distance: pool adjacent violators."""
    offsets, total = [], 0.0
    for at, width in enumerate(widths):
        total += (widths[at - 1] + width) / 2 if at else 0.0
        offsets.append(total)
    blocks: list[tuple[float, int]] = []  # (mean, how many)
    for place, offset in zip(wanted, offsets, strict=True):
        blocks.append((place - offset, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, n), (b, m) = blocks[-2:]
            blocks[-2:] = [((a * n + b * m) / (n + m), n + m)]
    return [mean + offset for mean, offset in zip([mean for mean, n in blocks for _ in range(n)], offsets, strict=True)]


def _mean(places: Sequence[_Place], otherwise: float) -> float:
    return sum(place.x for place in places) / len(places) if places else otherwise


def _edge(route: list[_Place]) -> Markup:
    x, y = route[0].x, route[0].layer * _LAYER + _HEIGHT + 1
    path = f"M{x:.1f},{y}"
    for place in route[1:]:
        top = place.layer * _LAYER + 1
        middle = (y + top) / 2
        path += f"C{x:.1f},{middle:.0f} {place.x:.1f},{middle:.0f} {place.x:.1f},{top}"
        x, y = place.x, top
        if not place.real:
            y = top + _HEIGHT
            path += f"V{y}"
    return tag("path", d=path, class_="edge")


def _box(node: Node, place: _Place) -> Markup:
    x, y = place.x - _WIDTH / 2, place.layer * _LAYER + 1
    name = node.name if len(node.name) <= 23 else node.name[:22] + "…"
    return tag(
        "g",
        tag("title", f"{node.name} · {node.detail}"),
        tag("rect", x=x, y=y, width=_WIDTH, height=_HEIGHT, rx=6),
        tag("text", name, x=place.x, y=y + 14.5, text_anchor="middle", class_="name"),
        tag("text", node.detail, x=place.x, y=y + 27.5, text_anchor="middle", class_="detail"),
        class_=f"node {node.kind}",
    )
