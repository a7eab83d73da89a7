"""Settings of all tests: property tests draw the same examples every time, so that a red run means a change."""

from hypothesis import settings

settings.register_profile("steady", derandomize=True)
settings.load_profile("steady")
