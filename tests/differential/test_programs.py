"""What random programs may do and what not; needs no server."""

from coordination.wire.requests import SetAcl

from .lockstep import Send
from .programs import Maker

TOP = "/p0"


def test_no_program_sets_an_acl_on_what_the_next_one_needs() -> None:
    paths = {
        request.path
        for seed in range(200)
        for step in Maker(seed, TOP).program()
        if isinstance(step, Send)
        for request in step.requests
        if isinstance(request, SetAcl)
    }
    assert TOP in paths
    shared = {path for path in paths if path and path.startswith("/") and TOP not in path}
    assert shared <= {"//"}  # which is no path
