"""The sections of the page in their order: each a function of the report's data; None leaves a section out."""

from collections.abc import Callable

from evaluation.report.data import ReportData
from evaluation.report.markup import Markup
from evaluation.report.sections.benchmarks import benchmarks
from evaluation.report.sections.configuration import configuration
from evaluation.report.sections.corpus import funnel, mixture, tokenizer
from evaluation.report.sections.corpus_statistics import corpus_statistics
from evaluation.report.sections.footprint import footprint
from evaluation.report.sections.ppo import ppo
from evaluation.report.sections.provenance import failures, lineage, stages
from evaluation.report.sections.rejection import rejection
from evaluation.report.sections.reward_models import reward_models
from evaluation.report.sections.samples import samples
from evaluation.report.sections.training import training
from evaluation.report.sections.tuning import tuning
from evaluation.report.sections.versions import versions

SECTIONS: tuple[tuple[str, str, Callable[[ReportData], Markup | None]], ...] = (
    ("failures", "Failures", failures),
    ("training", "Pretraining", training),
    ("sft", "Fine-tuning", tuning),
    ("rewards", "Reward models", reward_models),
    ("rejection", "Rejection sampling", rejection),
    ("ppo", "PPO", ppo),
    ("versions", "Versions", versions),
    ("samples", "Samples", samples),
    ("benchmarks", "Evaluation", benchmarks),
    ("funnel", "Corpora", funnel),
    ("statistics", "Who is spoken of", corpus_statistics),
    ("mixture", "Mixture", mixture),
    ("tokenizer", "Tokenizer", tokenizer),
    ("stages", "Stages", stages),
    ("lineage", "Lineage", lineage),
    ("carbon", "Carbon", footprint),
    ("configuration", "Configuration", configuration),
)
