"""What stands in the body of our Pyro4 frames: bytes behind one letter, cut and never decoded.

Pyro4's serializers rebuild objects, and rebuilding objects from a stranger's bytes runs code
(pickle), crashes the interpreter (marshal), connects to the stranger (a Proxy in any of them) or
eats the memory. This one knows three kinds of values, none of which has an inside:

    c <object> LF <method> LF <bytes>     a call with one argument
    b <bytes>                             a result
    h <text>                              a greeting, or why one was refused

It is not entered in Pyro4's tables of serializers: our daemon and our connections hold it
themselves and never look one up, so which others exist in this process does not matter.
"""

from __future__ import annotations

from typing import Any

from Pyro4.util import SerializerBase

from map_reduce.errors import ProtocolError

SERIALIZER_ID = 77
"""Not used by Pyro4, whose own are 1 to 8."""

GREETING_BYTES_MAX = 512
CALL_NAMES_BYTES_MAX = 64

OBJECT_ID = "map_reduce"
METHOD = "rpc"


class OpaqueSerializer(SerializerBase):  # type: ignore[misc]
    """Raises ProtocolError for anything but the three kinds above, in both directions."""

    serializer_id = SERIALIZER_ID

    def dumpsCall(
        self, obj: str, method: str, vargs: tuple[bytes], kwargs: dict[str, Any]
    ) -> bytes:
        (argument,) = vargs
        return call_head(obj, method) + argument

    def loadsCall(
        self, data: bytes | bytearray | memoryview
    ) -> tuple[str, str, tuple[memoryview], dict[str, Any]]:
        body = memoryview(data)
        names = bytes(body[:CALL_NAMES_BYTES_MAX]).split(b"\n", 2)
        if len(names) != 3 or names[0][:1] != b"c":
            raise ProtocolError("the frame holds no call")
        length = len(names[0]) + len(names[1]) + 2
        return _ascii(names[0][1:]), _ascii(names[1]), (body[length:],), {}

    def dumps(self, data: Any) -> bytes:
        if isinstance(data, bytes):
            return b"b" + data
        if isinstance(data, dict) and set(data) == {"handshake"}:
            data = data["handshake"]
        if isinstance(data, str):
            return b"h" + data.encode()
        raise ProtocolError(f"a {type(data).__name__} does not travel in a frame")

    def loads(self, data: bytes | bytearray | memoryview) -> memoryview | str:
        body = memoryview(data)
        kind = bytes(body[:1])
        if kind == b"b":
            return body[1:]
        if kind == b"h":
            return _ascii(bytes(body[1:]))
        raise ProtocolError("the frame holds neither a result nor a greeting")

    def deserializeCall(self, data: Any, compressed: bool = False) -> Any:
        return self.loadsCall(_plain(data, compressed))

    def deserializeData(self, data: Any, compressed: bool = False) -> Any:
        return self.loads(_plain(data, compressed))


def call_head(obj: str, method: str) -> bytes:
    """What stands before the argument of a call."""
    return f"c{obj}\n{method}\n".encode()


RESULT_HEAD = b"b"
"""What stands before the bytes of a result."""


def _plain(data: Any, compressed: bool) -> Any:
    if compressed:
        raise ProtocolError("the frame is compressed")
    return data


def _ascii(text: bytes) -> str:
    try:
        return text.decode("ascii")
    except UnicodeDecodeError:
        raise ProtocolError("a name or a greeting that is not ASCII text") from None
