"""Prefect flows, one per stage group, and the command line. Wiring only."""
