"""A ring of real daemons on loopback, with bad links and failing nodes, watched from outside.

The simulator's counterpart with real processes, sockets and clocks: it finds what virtual time
cannot show (system calls, descriptors, start and end of a process), and it can have real Dovecot
directors as members. What happens follows from a seed, when exactly it happens does not.
"""
