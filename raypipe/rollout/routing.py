"""Which units go to the challenger: a salted hash, so that a unit stays on its arm and weights only add units.

Knows units and percentages; does not know requests.
"""

from __future__ import annotations

import hashlib

BUCKETS = 10_000


def bucket(salt: str, unit: str) -> int:
    """Return the unit's place among 10,000, uniform over units; another salt gives another place.

    Parameters
    ----------
    salt
        Of the rollout, up to 64 bytes.
    unit
        A user, a session, a request.

    Examples
    --------
    >>> bucket("flights-7", "user1") == bucket("flights-7", "user1")
    True
    """
    digest = hashlib.blake2b(unit.encode("utf-8", "surrogateescape"), digest_size=8, key=salt.encode()).digest()
    return int.from_bytes(digest) % BUCKETS


def takes(place: int, percent: float) -> bool:
    """Return whether a share of `percent` (0..100) has this place; a larger share has all of a smaller one."""
    return place < percent * (BUCKETS / 100)
