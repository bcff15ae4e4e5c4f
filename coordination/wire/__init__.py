"""Bytes to records and back, both sides of ZooKeeper's client protocol.

    jute      int, long, bool, buffer, ustring, vector: readers with offsets, writers that give bytes
    opcodes   what a request may ask, as numbers
    records   Stat, ACL, Id and the two handshake records
    requests  one record per request; decode from a frame, encode for a client
    replies   reply frames and watch events; encode for a server, decode for a client
    frames    the four-byte length in front of everything, with its limit
    server_connection   one client's byte stream as a sequence of requests

Knows no tree and no session table; does no I/O.
"""
