"""Random programs of several clients: ours answers every frame as Apache ZooKeeper does.

More of them: BROKERDEMO_DIFFERENTIAL=first:count, e.g. 1000:500.
"""

import os
from collections.abc import Sequence

import pytest

from .lockstep import Pair, Step, shrunk
from .programs import Maker

pytestmark = pytest.mark.peers

FIRST, _, COUNT = os.environ.get("BROKERDEMO_DIFFERENTIAL", "0:60").partition(":")


@pytest.mark.parametrize("seed", range(int(FIRST), int(FIRST) + int(COUNT or 1)))
def test_the_same_answers(pair: Pair, seed: int) -> None:
    def program(top: str) -> Sequence[Step]:
        return Maker(seed, top).program()

    difference = pair.first_difference(program)
    if difference is None:
        return
    steps = len(program(""))
    small = shrunk(
        difference, steps, lambda kept: pair.first_difference(lambda top: [program(top)[step] for step in kept])
    )
    pytest.fail(f"seed {seed}: answers differ\n{small}", pytrace=False)
