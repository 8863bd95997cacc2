"""`director demo`: the daemon at work on one machine, among stand-ins or among real Dovecots.

Layers: `process` (the director's own process), `story` (what happens, and what must hold); then the
two worlds it is played in: `embedded` with `standins` (auth service, backends) and `proxies` (login
processes, and the ipc socket that closes their sessions), and `dovecot`; `show` (what a person
sees). The director itself is never a stand-in: it is asked through the sockets and the command line
that an operator uses.
"""
