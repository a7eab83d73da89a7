"""Stages: a spec and a thin body each; executors, launchers and the bridge to Prefect."""
