"""The life of a block after its first acknowledgement.

A block belongs on its replica group: the owner of its name and the next members, five in all
(``core/chord/replication.py``). Members come and go, so copies have to move after them. Three
rules do it, each carried out by a member of its own accord, now and then and after any change
around it::

    arc      the OWNER of an arc sees to it that the members of its group hold the same blocks
             there: it fetches what it lacks and others have, then sends what they lack
    strays   WHOEVER holds a block without being in its group offers it to the owner, and deletes
             it once the whole group says that it has it
    leaving  WHO LEAVES sends what it holds to those who will be in the group without it

They need nothing but what a member knows anyway, its neighbours, and a lookup. Whatever the ring
looked like before, a block that any live member holds comes to its owner by the second rule and
from there to its group by the first; and since one member has the say for each arc, a copy that is
missing travels once. A joiner owns an arc and holds nothing of it: the first rule fills it. Until
then whoever had the arc still has its blocks, and readers go on to them.

Comparing is cheap where nothing is wrong: two members exchange one digest for an arc, and split
only what differs (Cates, "Robust and efficient data management for a distributed hash table",
MIT, 2003: Merkle trees over key ranges). Ours has no tree: any arc's digest is the exclusive
or of those of its blocks, so arcs may begin and end anywhere and follow the ring as it changes.

**Nothing that was deleted comes back.** A job's blocks are deleted everywhere at its end. A
member that did not hear of it would hand them out again by the rules above, so everyone remembers
for a day which jobs it was told to delete (``deletions.py``), and tells who asks.

Read in this order::

    inventory.py   what a member holds, by place on the ring, and its digests
    compare.py     what two members hold differently
    deletions.py   jobs whose blocks are not to come back
    arc.py         the first rule
    strays.py      the second and the third
    times.py       when a member looks, checks.py which blocks it reads against their digests
    keeper.py      all of it together, for one member

What is pure plans; what moves and deletes is in ``keeper.py``, which has its driver do it.
``runtime/repair.py`` does, at a bounded rate, and so does the simulator.
"""
