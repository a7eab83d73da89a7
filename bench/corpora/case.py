"""What a comparison with a peer is made of.

A case names functions as `module:function`. Each runs in a process of its own (ours under this interpreter, a peer's under
that of `.peers`), so a module of cases imports only the standard library at its top. A function takes the folder of the
input and an empty folder for what it writes, and returns an `Outcome`; its own clock excludes imports and warm-up.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict


class Outcome(TypedDict):
    """What one process did: `seconds` of work on `units` of the case's unit, over `rows` and `bytes` of input, and `facts`."""

    units: float
    seconds: float
    rows: int
    bytes: int
    facts: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One row of the table, once a peer.

    `prepare(folder, scale)` writes the input, the same bytes every time; `agree(ours, theirs)` compares the facts of both:
    it raises AssertionError when they did different work, or returns what explains a difference that is meant.
    `checkout`: the repository, by name, that the peer is run from and that `--peer-dir` must hold, where no package has it.
    """

    what: str
    unit: str
    ours: str
    peers: dict[str, str]
    prepare: Callable[[Path, float], None]
    agree: Callable[[dict[str, Any], dict[str, Any]], str | None]
    cores: int = 1
    checkout: dict[str, str] = field(default_factory=dict)
    at_least: dict[str, float] = field(default_factory=dict)  # the ratio the project holds itself to, by peer
