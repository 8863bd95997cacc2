"""Closing sessions, and listing them: `ipc` of Dovecot 2.3, `anvil` of Dovecot 2.4."""
