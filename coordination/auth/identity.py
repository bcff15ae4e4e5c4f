"""An identity: a scheme and an id in it, as a connection has proven it; and the facts about a connection that prove
some.

In and out: values.  Knows no scheme.  Answers to ZooKeeper's org.apache.zookeeper.data.Id and the parts of ServerCnxn
its providers read.
"""

from typing import NamedTuple

SUPER_SCHEME = "super"  # an identity of this scheme passes every check; no ACL can name it
ENSEMBLE = "ensemble"  # what an auth request says of the server, not of the client: nobody has such an identity


class Identity(NamedTuple):
    scheme: str
    id: str


Identities = tuple[Identity, ...]


class Peer(NamedTuple):
    """The far end of a connection: its address as text, and the certificate (DER) TLS has verified, if any.

    The address is the socket's own, never one that a header or a proxy line claims (CVE-2024-51504).
    """

    address: str
    certificate: bytes | None = None
