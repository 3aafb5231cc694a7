"""The protocol and the scheduling as pure code: values in, values out.

Nothing below this package reads a clock, starts a thread, opens a socket, draws a random
number or knows Pyro4. ``runtime`` drives it over a real network, ``simulation`` over a seeded
and faulty one; the code here is the same to the letter.
"""
