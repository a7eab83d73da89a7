"""What can go wrong in the store, said to a person: what happened, where, and what to do about it."""


class StoreError(Exception):
    """Base of every error of the store; its text is meant for the person who runs the program."""


class NotCanonical(StoreError, TypeError):
    """A value that has no canonical JSON text, so that it cannot be part of a fingerprint."""


class DamagedManifest(StoreError):
    """A manifest that cannot be read, or that contradicts itself."""


class LockHeld(StoreError):
    """Another living process writes this artifact."""


class LockLost(StoreError):
    """The lock was taken over while we worked; nothing may be committed any more."""


class NoSpace(StoreError):
    """The disk is full, or would be."""


class StoreUnreachable(StoreError, OSError):
    """A remote store did not answer, or refused: it may pass."""
