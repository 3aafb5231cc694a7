"""The ring: Chord as Zave corrected it, begun by one member and healing from wrong suspicion.

Read in this order::

    successors.py    the successor list: truncated at its owner, never padded
    detector.py      who answers, who is suspected, who is dead
    view.py          who is in the ring, as far as is known, and how that spreads
    acquaintances.py members worth asking that are not in the list
    state.py         what one member knows of its place, and what it answers
    touch.py         keeping in touch: pings, gossip, asking others about a suspect
    member.py        what it does: join, stabilize, adopt, leave, probe, reunite
    joining.py       how it finds its place
    lookup.py        who owns an identifier (for members and for clients)
    fingers.py       shortcuts across large rings
    survey.py        every member, in ring order
    replication.py   which members hold the copies
    invariants.py    what must always hold, for tests, simulator and status
"""
