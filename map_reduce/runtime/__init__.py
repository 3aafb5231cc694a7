"""Drives the pure core over ports: threads, deadlines, and one owner for each piece of state.

The rules that keep it free of deadlocks: no lock is held across a call to a peer; no handler of
a request waits or calls a peer; every thread has an owner that ends and joins it.
"""
