"""How requests reach other nodes: the ``Transport`` port of ``map_reduce/ports.py``, twice.

    memory.py          within one process, for an embedded node and for tests
    pyro.py            between processes, over Pyro4
      pyro_pool.py       the calling side: connections, kept and bounded
      pyro_server.py     the answering side: the accept loop and a thread for each connection
      pyro_daemon.py     the answering side: what Pyro4's daemon may be asked, and nothing else
      pyro_greeting.py   what the two ends of a connection say first
      pyro_channel.py    Pyro4 frames over one socket, each whole and under a deadline
      pyro_packing.py    bulk frames are deflated where the network is slow
      pyro_serializer.py what stands in a frame: bytes, never anything that needs decoding
    answering.py       from the bytes of a request to the bytes of its reply
    wire.py            messages as bytes

Nothing outside the ``pyro`` modules imports Pyro4, so ``import map_reduce`` does not either.
Why Pyro4 is used as it is: ``docs/decisions/0003-pyro4-transport.md``.
"""
