"""The local connections: login processes, lmtp, doveadm, the notify FIFO, administrators.

`listener` accepts and `stream` holds what cannot be sent yet. `relay` stands between a login
process (or lmtp, or doveadm) and Dovecot's auth service; `replies` says which lines of auth need a
host and what is added to them, `rewriter` looks the host up and holds the line until there is one.
`authreply` is the rewriter without an auth service, `notify` hears which users still have sessions.
`directory` is all they know of the rest of the daemon.
"""
