"""Random draws that depend on their key alone: not on the order of calls, the number of workers or a restart."""

from hashlib import blake2b

HASHES = 2**63


def hash63(*key: int | str) -> int:
    """An integer in [0, 2**63) that follows from `key`."""
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % HASHES
