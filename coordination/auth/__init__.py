"""Who is asking, and may they: identities, schemes, access control lists, SASL.

    identity             one proven identity, and the facts of a connection it is proven from
    distinguished_name   a certificate's subject as x509 ACLs write it
    schemes              digest, ip, x509, sasl: prove, validate, match
    permissions          what each opcode needs; checks, the making of ACLs, and what getACL shows of them
    jaas                 users and passwords from a JAAS file
    sasl_digest_md5      the server's side of RFC 2831, and a client's for tests
    settings             properties and zoo.cfg keys -> the frozen settings of all this
    connection_auth      what one connection has proven so far; the auth and sasl requests

Knows no tree, no session table and no socket; does no I/O.  Randomness (SASL nonces) is an argument.
"""
