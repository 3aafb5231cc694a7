"""What happens to user data inside a worker process.

Start with ``attempt.py``, the way in; then ``map_side.py`` and ``reduce_side.py``. Keys have a
theory of their own: ``keys.py``.
"""
