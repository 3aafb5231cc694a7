"""Certificates of a cluster, made: the command ``map-reduce certs``.

    authority.py   the keys and certificates themselves, by the package ``cryptography``
    folders.py     where they are kept, and what is refused to be overwritten
    show.py        what is in a folder, for people

A node needs none of this: it reads what was made here (``transport/credentials.py``).
"""
