"""Artifacts: fingerprints, manifests, locks and lineage. Knows nothing of language models."""
