"""Our programs against real Dovecot 2.4: see README.md beside this file."""
