"""The shell of the coordination server: moves bytes, keeps order, decides nothing.

config        zoo.cfg, properties and options -> one frozen Config (config_reader, config_keys, properties,
              operator_settings)
listening     a socket, or why there is none; client_listeners: those for clients, plain, TLS or both
poller        which sockets are ready, as one thing to wait for
client        what is kept and counted per socket; tls: contexts; tls_socket: TLS without waiting
client_port   sockets <-> the pipeline
doors         where clients come in; admission: who may; departures: sockets we have said our last word on
backlog       what clients have not taken yet, and who must go for it
gathering     whether a batch of writes waits a moment for the writers about to come
log_writer    group commit: payloads in, "persisted up to zxid" out, inline or in a thread
snapshots     when to write one, in slices between requests
garbage       when Python's collector looks, and at what
journal       the server's own log: events -> lines; logs: a terminal, a pipe, a file that rotates
readings      what the server knows about itself
metrics       the same under ZooKeeper's names
words         ... as four letter words
commands      ... as AdminServer's JSON
operators     HTTP for operators, if switched on: http_serving, http_guard, http_admin, http_metrics
main          puts it together: storage, recovery, port, signals
"""
