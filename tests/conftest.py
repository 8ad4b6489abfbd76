"""Settings of the whole test run."""

from hypothesis import settings

# derandomize: the same examples on every machine, so a red test is red for everyone. deadline: a slow machine is no failure.
settings.register_profile("xct", derandomize=True, deadline=None, database=None, max_examples=40, print_blob=True)
settings.load_profile("xct")
