"""The board's clock compared with the control node's."""

import pytest
from ansible_collections.edge_ai.cluster.plugins.action.raspberry_pi_info import clock_offset


@pytest.mark.parametrize(
    ("offset", "seconds_there"),
    [(0.0, 1.2), (5.0, 1.2), (-5.0, 1.2), (0.4, 0.0)],
)
def test_clock_offset_is_bounded(offset: float, seconds_there: float) -> None:
    """The board reads its clock 0.7 s after we sent the module; its result arrives 0.3 s after its second reading."""
    sent = 1000.0
    read = [sent + 0.7 + offset, sent + 0.7 + seconds_there + offset]
    low, high = clock_offset(sent, sent + 0.7 + seconds_there + 0.3, read)
    assert low <= offset <= high
    assert high - low == pytest.approx(1.0, abs=0.01)
