"""Records as the notebooks make them."""

from tests.support.records import edge, prediction, record  # noqa: F401 - fixtures
