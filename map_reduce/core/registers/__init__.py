"""Records: small mutable values that a majority of their own members decides about.

CASPaxos registers with the configuration inside the value; ``docs/records.md`` says what they
promise and why. Read in this order::

    birth.py      how a record comes into being without a race
    acceptor.py   what a replica remembers and answers
    quorums.py    who must agree
    procedure.py  the shape of a step that asks several replicas at once
    proposer.py   read, compare-and-set, delete, change the members: the rules
    lease.py      masters: taking over by raising an epoch, and fencing off the one before
"""
