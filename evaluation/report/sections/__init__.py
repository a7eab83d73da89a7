"""The sections of the page in their order: each a function of the report's data; None leaves a section out."""

from collections.abc import Callable

from evaluation.report.data import ReportData
from evaluation.report.markup import Markup
from evaluation.report.sections.benchmarks import benchmarks
from evaluation.report.sections.configuration import configuration
from evaluation.report.sections.corpus import funnel, mixture, tokenizer
from evaluation.report.sections.footprint import footprint
from evaluation.report.sections.provenance import failures, lineage, stages
from evaluation.report.sections.training import training

SECTIONS: tuple[tuple[str, str, Callable[[ReportData], Markup | None]], ...] = (
    ("failures", "Failures", failures),
    ("training", "Pretraining", training),
    ("benchmarks", "Evaluation", benchmarks),
    ("funnel", "Corpora", funnel),
    ("mixture", "Mixture", mixture),
    ("tokenizer", "Tokenizer", tokenizer),
    ("stages", "Stages", stages),
    ("lineage", "Lineage", lineage),
    ("carbon", "Carbon", footprint),
    ("configuration", "Configuration", configuration),
)
