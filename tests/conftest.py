"""Settings of the whole test run."""

import pytest
from hypothesis import settings

# derandomize: the same examples on every machine, so a red test is red for everyone. deadline: a slow machine is no failure.
settings.register_profile("xct", derandomize=True, deadline=None, database=None, max_examples=40, print_blob=True)
settings.load_profile("xct")


@pytest.fixture(scope="session", autouse=True)
def _whole_monai() -> None:
    """Commands load MONAI without its engines (``lean_monai``); the trainings tested in the same process need them."""
    import monai.bundle  # noqa: F401
