"""What the failure detector and the membership view are worth, in numbers.

suspicion.py    false deaths under pauses, one-way links and loss; beside plain SWIM
view.py         lookups answered in one hop while members come and go
healing.py      after wrong verdicts, after a partition, and at the birth of a ring
"""
