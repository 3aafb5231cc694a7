"""The processes that run user code. Start reading in ``workers/pool.py``."""
