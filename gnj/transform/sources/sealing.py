"""Credentials as they are stored: encrypted and authenticated by Fernet (transformation jobs contract, "Sources")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from gnj.queue.errors import InvalidInput
from gnj.queue.values import dump_json, parse_json
from gnj.transform.errors import BadSource, SourceFailed
from gnj.transform.sources.templates import check_credentials

NO_KEY: Final = "no key to encrypt with is configured (secret_keys, or GNJ_SECRET_KEYS in the environment)"


class Secrets:
    """Encrypts credentials.

    Args:
        keys: Of Fernet, 32 bytes in URL-safe base64 each (`Secrets.new_key()`). The first one encrypts, each decrypts: a new one is put in front
            of those that it replaces, until what these have encrypted was encrypted again (`renewed`). Without one, nothing can be stored.

    Raises InvalidInput for what is no key, without telling it.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        try:
            fernets = [Fernet(key) for key in keys]
        except (ValueError, TypeError):
            raise InvalidInput("a key for credentials must be 32 bytes in URL-safe base64") from None
        self._fernet = MultiFernet(fernets) if fernets else None

    @staticmethod
    def new_key() -> str:
        """A key, made at random."""
        return Fernet.generate_key().decode()

    def encrypt(self, credentials: Mapping[str, str]) -> str | None:
        """What is stored of them; None of none. Raises `BadSource`, also where there is no key."""
        found = check_credentials(credentials)
        if not found:
            return None
        if self._fernet is None:
            raise BadSource(f"credentials cannot be stored: {NO_KEY}")
        return self._fernet.encrypt(dump_json(found).encode()).decode()

    def decrypt(self, text: str | None) -> dict[str, str]:
        """The credentials of which that was stored. Raises `SourceFailed` where no key fits."""
        if text is None:
            return {}
        try:
            return dict(parse_json(self._keys().decrypt(text), "credentials"))
        except InvalidToken:
            raise _no_key() from None

    def renewed(self, text: str) -> str:
        """The same, encrypted with the first key. Raises `SourceFailed` where no key fits."""
        try:
            return self._keys().rotate(text).decode()
        except InvalidToken:
            raise _no_key() from None

    def _keys(self) -> MultiFernet:
        if self._fernet is None:
            raise _no_key()
        return self._fernet


def _no_key() -> SourceFailed:
    return SourceFailed("the source's credentials cannot be read with the keys that are configured", final=True)
