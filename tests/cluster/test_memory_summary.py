"""The table of references to objects."""

from __future__ import annotations

import numpy as np
import pytest
from support.clusters import poll

from rayjup._private.internal_api import memory_summary


def test_who_refers_to_what(ray):
    large, small = ray.put(np.ones(200_000)), ray.put([1])
    again = [large]
    text = memory_summary(units="KB")
    assert large.hex() in text and small.hex() in text and "LOCAL_REFERENCE" in text and "DRIVER" in text
    assert text.index(large.hex()) < text.index(small.hex()), "the largest first"
    assert "2 references to 2 objects, 1,600" in text
    assert large.hex() not in memory_summary(stats_only=True)
    assert "… and 1 more" in memory_summary(num_entries=1)
    del again, large, small
    poll(lambda: "0 references" in memory_summary())


@pytest.mark.parametrize("wrong", [{"units": "PB"}, {"group_by": "X"}, {"sort_by": "X"}])
def test_unknown_choices_are_named(ray, wrong):
    with pytest.raises(ValueError, match="choose among"):
        memory_summary(**wrong)
