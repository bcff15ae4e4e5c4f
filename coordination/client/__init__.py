"""The async client: trio on this side, kazoo's one connection thread on the other.

Public names come through `coordination`. Nothing is imported and no thread exists until `coordination.connect` is used,
so a process may import this package and fork.
"""
