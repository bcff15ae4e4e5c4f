"""The shell of the coordination server: moves bytes, keeps order, decides nothing.

config       zoo.cfg, properties and options -> one frozen Config
poller       which sockets are ready, as one thing to wait for
log_writer   group commit: payloads in, "persisted up to zxid" out, inline or in a thread
client_port  sockets <-> the pipeline
admin        the four letter words
journal      the server's own log lines, JSON on stderr
main         puts it together: storage, recovery, port, signals
"""
