"""What all servers of a database know, and no client: the secret with which the queue signs what it hands out."""

from __future__ import annotations

from gnj.queue import claimtokens
from gnj.queue.model import Secret
from gnj.queue.runner import Runner
from gnj.queue.storage import Select
from gnj.queue.where import equal


class SharedSecret(Runner):
    """The commands that need it."""

    _shared_secret: str | None = None

    def shared_secret(self) -> str:
        """The secret, in hexadecimal: made by the first that needs it, and the same for all. What is signed with it begins with a
        label that says what for, so that no signature is worth anything elsewhere.
        """
        if self._shared_secret is None:
            named = Select(equal(Secret, tenant="", name=claimtokens.SECRET), limit=1)
            found = self.storage.find(Secret, named)
            if not found:
                found = self.alone(lambda: self.storage.insert(Secret, [claimtokens.new_secret()]))
            self._shared_secret = found[0].value
        return self._shared_secret
