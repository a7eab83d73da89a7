"""`demo-corpora`: raw corpora in the true format of every source, built from text that this installation holds."""

from data.demo.build import build
from tasks.stage import StageContext


def build_corpora(context: StageContext) -> None:
    """Write one folder of raw files per source, and the benchmark."""
    config = context.config["demo_corpora"]
    figures = build(context.directory / "raw", config, context.seed)
    files = sorted(path for path in (context.directory / "raw").rglob("*") if path.is_file())
    for path in files:
        context.declare(path.relative_to(context.directory).as_posix())
    total = sum(path.stat().st_size for path in files)
    context.metrics.update(figures or {}, headline=f"{len(files)} raw files, {total / 2**20:.1f} MiB")
