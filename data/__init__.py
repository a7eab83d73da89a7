"""Corpora: read, clean, deduplicate, filter and mix; one file per source, one file per step of a chain."""
