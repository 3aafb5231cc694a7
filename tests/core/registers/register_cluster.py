"""A few replicas without a network: a test says which of them can be reached."""

from __future__ import annotations

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Message
from map_reduce.core.messages.records import Replica
from map_reduce.core.registers.acceptor import Acceptor, Persist, Reply
from map_reduce.core.registers.birth import Birth
from map_reduce.core.registers.procedure import AskAll, BackOff, perform
from map_reduce.core.registers.proposer import Proposer


def replica(number: int, identity: int = 0) -> Replica:
    return Replica(Address(f"n{number}", 1), identity or number)


def member(number: int, incarnation: int = 1) -> Member:
    return Member(Address(f"p{number}", 1), incarnation)


class Cluster:
    """Replicas n1 … n``size``, and a record born with the first ``members`` of them."""

    def __init__(self, size: int = 5, members: int = 3) -> None:
        self.replicas = tuple(replica(number) for number in range(1, size + 1))
        self.acceptors = {one: Acceptor(one) for one in self.replicas}
        self.record = Birth(b"about", b"nonce", self.replicas[:members]).record()
        self.requests: list[tuple[Replica, Message]] = []

    def answer(self, to: Replica, message: Message) -> Message:
        self.requests.append((to, message))
        effects = self.acceptors[to].handle(message)
        assert effects is not None
        assert all(isinstance(effect, Persist) for effect in effects[:-1])
        assert isinstance(effects[-1], Reply)
        return effects[-1].message

    def run(self, procedure, reach=None, backed_off=None):
        """Perform it where only the replicas with numbers in ``reach`` are reached.

        ``reach`` may also be a function from a request to such numbers.
        """

        def ask_all(ask: AskAll):
            replies: dict[Replica, Message] = {}
            enough = False
            for to, message in ask.messages.items():
                wanted = reach(message) if callable(reach) else reach
                if wanted is None or int(to.address.host[1:]) in wanted:
                    reply = self.answer(to, message)
                    if not enough:
                        replies[to] = reply
                        enough = ask.enough(replies)
            return replies

        def back_off(wait: BackOff) -> None:
            if backed_off is not None:
                backed_off.append(wait.attempt)

        return perform(procedure, ask_all, back_off)


def proposer(number: int = 1, incarnation: int = 1, kind: type[Proposer] = Proposer, **options):
    return kind(member(number, incarnation), **options)
