"""What a stage is: a name, a body, what it reads and what it takes in. Plain data, read by plan, engine and flows.

The body is named, not imported, so that planning a recipe loads neither torch nor a tokenizer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data.funnel import Funnel

if TYPE_CHECKING:
    from store.artifact import Artifact

Kind = Literal["data", "training", "evaluation"]


@dataclass(frozen=True)
class Stage:
    """One stage of a recipe.

    `body` is `module:function`, called as `function(context)`. `reads` are the dotted sub-trees of the recipe that
    the body may see; `inputs` the stages whose artifacts it takes. `raw` names the source whose raw files it reads.
    `tuning` stages train on `resources.tuning_ranks`. `adopted` is the fingerprint of the artifact from outside that
    stands in its place. `draws_as`: the name that its seed is made of, where that is not its own. `part_of`: the stage that
    leaves this one on its way, before it is finished itself.
    `kind`: the code of data stages is part of their fingerprint, that of the others is only recorded.
    """

    name: str
    body: str
    inputs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    kind: Kind = "data"
    version: int = 1
    group: str = "corpora"
    raw: str | None = None
    seeded: bool = False
    tuning: bool = False
    adopted: str | None = None
    environment: bool = False
    draws_as: str | None = None
    part_of: "Stage | None" = None

    def part(self, label: str, body: str) -> "Stage":
        """The stage `name@label`: made from what this one is made from, and left by it on its way."""
        return replace(self, name=f"{self.name}@{label}", body=body, draws_as=self.draws_as or self.name, part_of=self)

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Names of the stages without which there is none of this."""
        return self.inputs if self.part_of is None else (*self.inputs, self.part_of.name)

    def load_body(self) -> Callable[["StageContext"], None]:
        """Import the module of the body and return the function."""
        module, function = self.body.split(":")
        return getattr(import_module(module), function)


@dataclass(frozen=True)
class Shard:
    """One unit of work inside a stage: `function(output=…, **kwargs)` writes the file (or `name/`: folder) `name`.

    `inputs` are the files it reads; their digests, with kwargs, say whether a committed shard is still the right one.
    """

    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()


@dataclass(frozen=True)
class ShardResult:
    """A committed shard: where its file lies, what the function returned, how many rows it holds."""

    name: str
    path: Path
    value: Any = None


@dataclass(frozen=True)
class RawFile:
    """One raw input: its name (relative, stable), where it lies now, and its content.

    `address`: where it was fetched from, fit to be shown; the bytes of such a file may be gone again.
    """

    name: str
    path: Path
    size: int
    sha256: str
    address: str = ""


class StageFailed(Exception):
    """A stage cannot go on for a reason that the user can mend; the message says which and how."""


class Transient(Exception):
    """A failure that may pass when tried again: a lost rank or worker, an out-of-memory kill, input or output."""


@dataclass
class StageContext:
    """What the engine gives to a body. Everything that can change the result comes through here."""

    stage: Stage
    fingerprint: str
    config: Mapping[str, Any]
    inputs: Mapping[str, "Artifact"]
    raw: list[RawFile]
    directory: Path
    scratch: Path
    logs: Path
    resources: Any
    map_shards: Callable[..., list[ShardResult]]
    declare: Callable[..., None]
    report: Callable[[str], None]
    progress: Callable[[float, float, str], None]
    register_process: Callable[[int], None]
    make_part: Callable[[Stage, Callable[["Artifact"], bool]], "Artifact"]
    whole: Path | None = None  # of a part: where the files of the stage lie that leaves it
    seed_value: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    funnel: Funnel = field(default_factory=Funnel)
    discard: list[Path] = field(default_factory=list)  # folders of no use once the manifest is written
    ranks: int = 1
    threads: int = 1

    @property
    def seed(self) -> int:
        """The stage's own seed: a hash of the recipe's seed and the stage's name."""
        if self.seed_value is None:
            raise AssertionError(f"{self.stage.name} uses a seed but is not declared `seeded`")
        return self.seed_value

    def log(self, text: str) -> None:
        """One line for the operator and for the stage's log."""
        self.report(text)

    def output(self, name: str, rows: int | None = None) -> Path:
        """Declare one data file of the artifact and return where to write it."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.declare(name, rows)
        return path

    def map(
        self, function: Callable[..., Any], shards: list[Shard], *, keep: bool = True, count: bool = True
    ) -> list[ShardResult]:
        """Run `function(output=…, **kwargs)` for every shard in worker processes; each commits alone.

        `keep=False`: the files are intermediate and go when the stage is done. `count=False`: a returned Funnel is not
        added to the funnel of the stage. Returns the results in the order of `shards`.
        """
        return self.map_shards(self, function, shards, keep=keep, count=count)
