"""Cluster: operating-system processes. State directory, control socket, zygote, supervisor, and how to talk to them."""
