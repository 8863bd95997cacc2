"""`director demo`: the daemon at work among stand-ins for everything Dovecot, on one machine.

Layers: `standins` (auth service, backends), `proxies` (login processes and the sessions they hold,
and the ipc socket that closes them), `story` (what happens, and what must hold), `show` (what a
person sees). The director itself is no stand-in: it runs as a process of its own, and is asked
through the sockets and the command line that an operator uses.
"""
