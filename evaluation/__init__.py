"""Benchmarks and reports over a model."""
