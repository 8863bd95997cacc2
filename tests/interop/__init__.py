"""Our programs against real Dovecot 2.3: see README.md beside this file."""
