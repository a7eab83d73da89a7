"""The Recipe: every knob of the two papers and of ours in one typed object, composed from sections that live beside
the code they configure. `resources` is the one section that can never change a result."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from data.arxiv import ArxivConfig
from data.books import BooksConfig
from data.books_dedup import BooksDedupConfig
from data.c4 import C4Config
from data.c4_dedup import C4DedupConfig
from data.commoncrawl import CommonCrawlConfig
from data.corpus_statistics import CorpusStatisticsConfig
from data.decontaminate import DecontaminateConfig
from data.demo.build import DemoConfig
from data.github import GitHubConfig
from data.github_dedup import GitHubDedupConfig
from data.instructions import InstructionsConfig
from data.language import LanguageConfig
from data.line_dedup import LineDedupConfig
from data.lm_training import LanguageModelConfig
from data.mixture import MixtureConfig
from data.near_dedup import NearDedupConfig
from data.perplexity import PerplexityConfig
from data.preferences import PreferencesConfig
from data.prompts import PromptsConfig
from data.quality import QualityConfig
from data.reference import ReferenceConfig
from data.section import Section
from data.split import SplitConfig
from data.stackexchange import StackExchangeConfig
from data.tokenizer import TokenizerConfig
from data.transfer import DownloadConfig
from data.wikipedia import WikipediaConfig
from evaluation.carbon import CarbonConfig
from evaluation.multiple_choice import MultipleChoiceConfig
from evaluation.perplexity import HeldOutLossConfig
from evaluation.versions import HeldOutConfig
from model.config import ModelConfig
from model.ppo_config import PpoConfig
from model.pretrain_config import PretrainConfig
from model.rejection_config import RejectionConfig
from model.reward_config import RewardConfig
from model.sampling_config import SamplingConfig
from model.sft_config import SftConfig
from tasks.recipe_file import RecipeError, RecipeSource, explain, read_recipe

SOURCES = ("commoncrawl", "c4", "github", "wikipedia", "books", "arxiv", "stackexchange")


class SourceInputs(Section):
    """Where the raw files of a source are: paths, globs or addresses, or `STAGE:glob` for files that a stage makes."""

    inputs: tuple[str, ...] = Field(min_length=1)


class CorpusInputs(SourceInputs):
    """Where the raw files of a corpus are (paths or globs, or `STAGE:glob`), and how many are read as one shard."""

    shard_bytes: int = Field(default=64 << 20, ge=1)  # chosen: small files in a row are one shard, a larger file is one alone


class CommonCrawlSource(CorpusInputs):
    """The CCNet chain (L1 §2.1; CCNet, Wenzek et al. 2020)."""

    read: CommonCrawlConfig = CommonCrawlConfig()
    lines: LineDedupConfig = LineDedupConfig()
    language: LanguageConfig = LanguageConfig()
    lm: LanguageModelConfig = LanguageModelConfig()
    perplexity: PerplexityConfig = PerplexityConfig()
    reference: ReferenceConfig | None = ReferenceConfig()


class C4Source(CorpusInputs):
    read: C4Config = C4Config()
    dedup: C4DedupConfig = C4DedupConfig()


class GitHubSource(CorpusInputs):
    read: GitHubConfig = GitHubConfig()
    dedup: GitHubDedupConfig = GitHubDedupConfig()


class WikipediaSource(CorpusInputs):
    read: WikipediaConfig = WikipediaConfig()


class BooksSource(CorpusInputs):
    read: BooksConfig = BooksConfig()
    dedup: BooksDedupConfig = BooksDedupConfig()


class ArxivSource(CorpusInputs):
    read: ArxivConfig = ArxivConfig()


class StackExchangeSource(CorpusInputs):
    read: StackExchangeConfig = StackExchangeConfig()


class Sources(Section):
    """The seven corpora of L1 Table 1; those that are absent are not made."""

    commoncrawl: CommonCrawlSource | None = None
    c4: C4Source | None = None
    github: GitHubSource | None = None
    wikipedia: WikipediaSource | None = None
    books: BooksSource | None = None
    arxiv: ArxivSource | None = None
    stackexchange: StackExchangeSource | None = None

    def present(self) -> list[str]:
        """Names of the sources of this recipe, in the order of the paper's table."""
        return [name for name in SOURCES if getattr(self, name) is not None]


class EvaluationConfig(Section):
    """Which benchmarks, over which files, how they are scored (L1 §3), and how versions are judged (L2 §3.2.3)."""

    benchmarks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    multiple_choice: MultipleChoiceConfig = MultipleChoiceConfig()
    perplexity: HeldOutLossConfig = HeldOutLossConfig()
    held_out: HeldOutConfig = HeldOutConfig()


class Resources(Section):
    """Where and with how much it runs. Nothing here can change an artifact."""

    workers: int = Field(default=max(1, os.cpu_count() or 1), ge=1)
    executor: Literal["local", "ray"] = "local"
    launcher: Literal["torchrun", "deepspeed", "slurm"] = "torchrun"
    ranks: int = Field(default=1, ge=1)
    nodes: int = Field(default=1, ge=1)
    hostfile: str | None = None  # `host slots=8` a line
    remote_shell: str = "ssh -o BatchMode=yes -o ServerAliveInterval=15"  # called as `remote_shell HOST COMMAND`
    port: int = Field(default=29400, ge=1, le=65535)  # where ranks of several hosts meet, on the first
    threads_per_rank: int = Field(default=1, ge=1)
    tuning_ranks: int | None = Field(default=None, ge=1)  # of SFT and reward models, which are small; null is `ranks`
    tuning_threads_per_rank: int | None = Field(default=None, ge=1)  # of these ranks; null is `threads_per_rank`
    grace_seconds: float = Field(default=60.0, gt=0)
    stall_minutes: float = Field(default=30.0, gt=0)
    min_free_gib: float = Field(default=1.0, ge=0)
    download: DownloadConfig = DownloadConfig()
    carbon: CarbonConfig = CarbonConfig()


class Instructions(SourceInputs):
    """Dialogues to imitate (L2 §3.1)."""

    read: InstructionsConfig = InstructionsConfig()


class Preferences(SourceInputs):
    """Comparisons of two answers (L2 §3.2.1)."""

    read: PreferencesConfig = PreferencesConfig()


class Prompts(SourceInputs):
    """What the chat model is asked in rounds and when it is judged (L2 §3.2.3)."""

    read: PromptsConfig = PromptsConfig()


class RewardModels(Section):
    """The two reward models (L2 §3.2.2)."""

    helpfulness: RewardConfig = RewardConfig()
    safety: RewardConfig = RewardConfig()


class Round(Section):
    """One turn of RLHF (L2 §3.2.3): rejection sampling (`sample`, `select`, `tune`), then PPO on top, either may be absent."""

    sample: SamplingConfig | None = None
    select: RejectionConfig = RejectionConfig()
    tune: SftConfig = SftConfig()
    with_instructions: bool = True  # chosen: the tuning set is the selected answers and the instructions
    ppo: PpoConfig | None = None

    @model_validator(mode="after")
    def _does_something(self) -> "Round":
        if self.sample is None and self.ppo is None:
            raise ValueError("expected `sample`, `ppo` or both")
        return self


class Recipe(Section):
    """One run from raw corpora to a model (L1 §2, L2 §2)."""

    name: str = "recipe"
    seed: int = 0
    demo_corpora: DemoConfig | None = None
    sources: Sources
    quality: QualityConfig = QualityConfig()
    near_dedup: NearDedupConfig = NearDedupConfig()
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    split: SplitConfig = SplitConfig()
    corpus_statistics: CorpusStatisticsConfig = CorpusStatisticsConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    mixture: MixtureConfig
    model: ModelConfig
    pretrain: PretrainConfig
    instructions: Instructions | None = None
    preferences: Preferences | None = None
    prompts: Prompts | None = None
    sft: SftConfig | None = None
    reward: RewardModels | None = None
    rounds: tuple[Round, ...] = ()
    evaluation: EvaluationConfig = EvaluationConfig()
    adopted: dict[str, str] = Field(default_factory=dict)  # stage -> fingerprint of `quipu adopt` that stands in its place
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        present = set(self.sources.present())
        if not present:
            raise ValueError(f"sources: expected at least one of {', '.join(SOURCES)}")
        shares = set(self.mixture.shares)
        if shares - present:
            raise ValueError(f"mixture.shares: {', '.join(sorted(shares - present))} stands in no section of sources")
        if self.sources.commoncrawl and not self.sources.wikipedia:
            raise ValueError("sources.commoncrawl: its language models and references come from wikipedia; add sources.wikipedia")
        if self.tokenizer.vocab_size != self.model.vocab_size:
            raise ValueError(
                f"model.vocab_size: expected tokenizer.vocab_size, {self.tokenizer.vocab_size}, got {self.model.vocab_size}"
            )
        needed = {
            "sft": (self.sft, ["instructions"]),
            "reward": (self.reward, ["sft", "preferences"]),
            "rounds": (self.rounds, ["reward", "prompts"]),
        }
        for key, (section, requirements) in needed.items():
            for requirement in requirements if section else []:
                if getattr(self, requirement) is None:
                    raise ValueError(f"{key}: needs the section {requirement!r} too")
        return self


def load_recipe(path: Path | str, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read, merge and check a recipe. Raises RecipeError with one line per mistake."""
    source = read_recipe(path, overrides)
    source.values.setdefault("name", Path(path).stem)
    return build_recipe(source)


def build_recipe(source: RecipeSource) -> Recipe:
    """A Recipe from what was read, or a RecipeError that says what is wrong and where."""
    try:
        return Recipe.model_validate(source.values)
    except ValidationError as error:
        raise explain(error, source, Recipe) from None


def section(recipe: Recipe, dotted: str) -> Any:
    """The sub-tree or field of the recipe at a dotted place."""
    value: Any = recipe
    for part in dotted.split("."):
        if isinstance(value, tuple):
            value = value[int(part)]
        else:
            value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


__all__ = ["SOURCES", "Recipe", "RecipeError", "Resources", "build_recipe", "load_recipe", "section"]
