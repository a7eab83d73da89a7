"""Benchmarks of the corpora, one file a subject; `python -m bench.data` runs them."""
