"""Records as the notebooks write them."""

from tests.support.records import edge, prediction, record  # noqa: F401 - fixtures
