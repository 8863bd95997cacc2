"""What a verb needs from the configuration: where the sockets are, and how names become hashes.

Only four settings, read when they are needed and without the checks a daemon needs: `director
status -a SOCKET` must work on a machine whose configuration is broken or somebody else's. A file
that was named must exist, though, because the answer would be about another director.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from director import config as configuration
from director.cli.failures import Fatal
from director.config import Config, ConfigError, Position, Value
from director.definitions import BY_NAME, VARIABLES
from ring.errors import ValueRefused
from ring.hashing import HashKind, UserHasher, UsernameTemplate

DEFAULT_PATHS = (Path("/etc/ringdirector/director.conf"), Path("/etc/dovecot/dovecot.conf"))
"""Where the configuration is looked for; none of them need exist."""


class Environment:
    """See the module's docstring. `path` is `-c`, `overrides` are the texts of `-o`."""

    def __init__(
        self, path: str | None, overrides: Sequence[str], environ: Mapping[str, str]
    ) -> None:
        """Raises:
        Fatal: no such file, or an override that is no setting=value.
        """
        self._environ = environ
        self._overrides: dict[str, str] = {}
        for override in overrides:
            name, equals, text = override.partition("=")
            if not equals or not name:
                reason = "Missing '='" if not equals else "Missing key name"
                raise _unreadable(f"Invalid -o parameter {override}: {reason}")
            self._overrides[name] = text
        path = path or environ.get("DIRECTOR_CONFIG")
        if path is None:
            self._path = next((path for path in DEFAULT_PATHS if path.exists()), None)
            return
        self._path = Path(path)
        try:
            self._path.stat()
        except OSError as error:
            raise _unreadable(f"stat({path}) failed: {error.strerror}") from None

    @property
    def socket_name(self) -> str:
        return f"{self._text('base_dir').rstrip('/')}/director-admin"

    @property
    def userdb_path(self) -> str:
        return str(Path(self._text("base_dir"), self._text("director_auth_userdb_socket")))

    def user_hash(self, name: bytes) -> int:
        return self._hasher.hash(name)

    @functools.cached_property
    def _hasher(self) -> UserHasher:
        try:
            template = UsernameTemplate.parse(self._text("director_username_hash"))
            return UserHasher(template, HashKind(self._text("director_hash").lower()))
        except (ValueRefused, ValueError) as error:
            raise _unreadable(str(error)) from None

    def _text(self, name: str) -> str:
        overridden = self._overrides.get(name)
        if overridden is not None:
            return overridden
        variable = f"DIRECTOR_{name.removeprefix('director_').upper()}"
        if variable in self._environ:
            return self._environ[variable]
        try:
            config = self._config
            value = config.root.values.get(name)
            return config.text(value or Value(BY_NAME[name].default, Position("default")))
        except ConfigError as error:
            raise _unreadable(str(error)) from None

    @functools.cached_property
    def _config(self) -> Config:
        if self._path is None:
            return configuration.parse_text("", "defaults", VARIABLES, self._environ)
        return configuration.parse_file(self._path, VARIABLES, self._environ)


def _unreadable(reason: str) -> Fatal:
    return Fatal(f"Error reading configuration: {reason}", os.EX_TEMPFAIL)
