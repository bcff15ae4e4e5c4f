"""A coordination service that speaks Apache ZooKeeper's interfaces, and an async client for it and for ZooKeeper."""
