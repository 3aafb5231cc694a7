"""The hash functions that are used here, without what :mod:`hashlib` loads besides.

``import hashlib`` loads OpenSSL, which takes three milliseconds in each process of a small job.
The functions here are Python's own: those that ``hashlib`` takes itself where OpenSSL has none
(BLAKE2), or is not there. A Python that was built without them has those of ``hashlib``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import blake2b, sha1, sha256
else:
    try:
        from _blake2 import blake2b
        from _sha1 import sha1

        try:
            from _sha2 import sha256
        except ImportError:  # before Python 3.12
            from _sha256 import sha256
    except ImportError:
        from hashlib import blake2b, sha1, sha256

__all__ = ["blake2b", "sha1", "sha256"]
