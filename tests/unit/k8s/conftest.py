"""The helpers of the notebooks, which the prediction server imports from the shared data."""

from tests.support.records import edge  # noqa: F401 - a fixture
