"""Operation codes, create flags, permissions, event types and reserved xids, as numbers on the wire.

Source: ZooDefs.OpCode, CreateMode, ZooDefs.Perms, Watcher.Event.EventType and KeeperState, ClientCnxn.
"""

NOTIFICATION = 0
CREATE = 1
DELETE = 2
EXISTS = 3
GET_DATA = 4
SET_DATA = 5
GET_ACL = 6
SET_ACL = 7
GET_CHILDREN = 8
SYNC = 9
PING = 11
GET_CHILDREN2 = 12
CHECK = 13
MULTI = 14
CREATE2 = 15
RECONFIG = 16
CHECK_WATCHES = 17
REMOVE_WATCHES = 18
CREATE_CONTAINER = 19
DELETE_CONTAINER = 20  # the server's own: refused from clients (CVE-2026-79993)
CREATE_TTL = 21
MULTI_READ = 22
AUTH = 100
SET_WATCHES = 101
SASL = 102
GET_EPHEMERALS = 103
GET_ALL_CHILDREN_NUMBER = 104
SET_WATCHES2 = 105
ADD_WATCH = 106
WHO_AM_I = 107
CREATE_SESSION = -10  # the server's own
CLOSE_SESSION = -11
ERROR = -1  # the server's own

NAMES = {
    value: name.lower().replace("_", " ")
    for name, value in list(globals().items())
    if name.isupper() and isinstance(value, int)
}

# flags of create
PERSISTENT = 0
EPHEMERAL = 1
PERSISTENT_SEQUENTIAL = 2
EPHEMERAL_SEQUENTIAL = 3
CONTAINER = 4
PERSISTENT_WITH_TTL = 5
PERSISTENT_SEQUENTIAL_WITH_TTL = 6

# permissions of an ACL
PERM_READ = 1
PERM_WRITE = 2
PERM_CREATE = 4
PERM_DELETE = 8
PERM_ADMIN = 16
PERM_ALL = 31

# events
EVENT_CREATED = 1
EVENT_DELETED = 2
EVENT_DATA_CHANGED = 3
EVENT_CHILDREN_CHANGED = 4
STATE_SYNC_CONNECTED = 3

# reserved xids
XID_NOTIFICATION = -1
XID_PING = -2
XID_AUTH = -4
XID_SET_WATCHES = -8

# addWatch modes, and the watch kinds of checkWatches and removeWatches
MODE_PERSISTENT = 0
MODE_PERSISTENT_RECURSIVE = 1
WATCHES_CHILDREN = 1
WATCHES_DATA = 2
WATCHES_ANY = 3
WATCHES_PERSISTENT = 4
WATCHES_PERSISTENT_RECURSIVE = 5
