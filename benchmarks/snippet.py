"""The README's first example, as a script."""

from map_reduce.client.server_interface import ServerInterface

text_data = ["hello world", "hello distributed computing", "world of mapreduce"]


def map(line_num: int, line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


def reduce(word: str, counts: list[int]) -> int:
    return sum(counts)


server = ServerInterface()
daemon = server.startup(text_data, map, reduce)
if daemon:
    print("Processing...")
    results = server.await_results()
    print("Word counts:", results)
