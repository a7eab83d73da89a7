"""Measurements: how fast Quipu is, beside peers where there are any. Never tests."""
