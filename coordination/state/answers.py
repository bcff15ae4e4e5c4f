"""The reply to a write: what its txn gave, as the body of a frame.

In: the result of applying one txn.  Out: bytes.  Knows no connection.  Answers to the switch in ZooKeeper's
FinalRequestProcessor.
"""

from coordination.state.data_tree import PartResult
from coordination.wire import opcodes
from coordination.wire.jute import put_string
from coordination.wire.replies import MULTI_END, multi_error, multi_part

_WITH_PATH = (opcodes.CREATE,)
_WITH_PATH_AND_STAT = (opcodes.CREATE2, opcodes.CREATE_CONTAINER, opcodes.CREATE_TTL)
_WITH_STAT = (opcodes.SET_DATA, opcodes.SET_ACL, opcodes.CHECK)


def reply_body(result: PartResult) -> bytes:
    if result.type in _WITH_STAT:
        return result.stat
    if result.type in _WITH_PATH:
        return put_string(result.path)
    if result.type in _WITH_PATH_AND_STAT:
        return put_string(result.path) + result.stat
    return b""


def multi_reply(results: list[PartResult]) -> bytes:
    parts: list[bytes] = []
    for result in results:
        if result.type == opcodes.ERROR:
            parts.append(multi_error(result.code))
        elif result.type == opcodes.CHECK:
            parts.append(multi_part(result.type))
        else:
            # A part that answers its Stat too is a create2, whatever it created (source: OpResult.CreateResult).
            type_ = opcodes.CREATE2 if result.type in _WITH_PATH_AND_STAT else result.type
            parts.append(multi_part(type_, reply_body(result)))
    parts.append(MULTI_END)
    return b"".join(parts)
