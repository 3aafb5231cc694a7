"""Make a file of real text from the documents of this machine.

    python benchmarks/real_text.py --megabytes 100 --output benchmarks/data/text-100.txt

Licences, manual pages, package documentation, change logs and, where that is not enough, the
source text of Python's own library are written one after the other, in the order of their names,
until the file has its size. The same machine gives the same bytes. What is not UTF-8 is replaced.
A document that another one equals is left out. A minimal machine may not have as much text as
asked for; then what there is is repeated, and the closing line says how much.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import sys
import sysconfig
import zlib
from collections.abc import Iterator
from pathlib import Path

DOCUMENT_BYTES_MAX = 20_000_000
SOURCES = (
    ("/usr/share/common-licenses", "*"),
    ("/usr/share/man", "man*/*"),
    ("/usr/share/doc", "**/README*"),
    ("/usr/share/doc", "**/NEWS*"),
    ("/usr/share/doc", "**/copyright"),
    ("/usr/share/doc", "**/*.txt"),
    ("/usr/share/doc", "**/*.txt.gz"),
    ("/usr/share/doc", "**/changelog*"),
    ("/usr/local/share/man", "man*/*"),
    (sysconfig.get_path("stdlib"), "**/*.py"),
    (sysconfig.get_path("purelib"), "**/*.py"),
)


def documents() -> Iterator[str]:
    """The texts of this machine, each once, in a fixed order."""
    seen = set()
    for folder, pattern in SOURCES:
        for path in sorted(Path(folder).glob(pattern)):
            text = read(path)
            digest = hashlib.sha256(text.encode()).digest()
            if text and digest not in seen:
                seen.add(digest)
                yield text


def read(path: Path) -> str:
    """The text of a document, empty where it is none."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > DOCUMENT_BYTES_MAX:
            return ""
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        print(f"left out {path}: {error}", file=sys.stderr)
        return ""
    if b"\0" in data:  # not a text
        return ""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    return text if text.endswith("\n") else text + "\n"


def write(output: Path, size_bytes: int) -> tuple[int, int]:
    """Fill the file; its size, and how much of it was written before the text repeats."""
    written = 0
    with output.open("w+b") as file:
        for text in documents():
            written += file.write(text.encode()[: size_bytes - written])
            if written >= size_bytes:
                return written, written
        distinct = written
        if not distinct:
            raise SystemExit("found no text at all on this machine")
        file.seek(0)
        piece = file.read(distinct)
        while written < size_bytes:
            written += file.write(piece[: size_bytes - written])
    return written, distinct


def end_cleanly(path: Path) -> None:
    """Cut what follows the last line end, so that no line and no character is half a one."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - 1_000_000)
        file.seek(start)
        end = file.read().rfind(b"\n") + 1
        if end:
            file.truncate(start + end)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a file of real text.")
    parser.add_argument("--megabytes", type=float, default=100, help="10^6 bytes (default 100)")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    output: Path = arguments.output
    if output.exists():
        print(f"{output} is there already: {output.stat().st_size / 1e6:.1f} MB")
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f"{output.name}.{os.getpid()}")
    try:
        written, distinct = write(unfinished, int(arguments.megabytes * 1e6))
        end_cleanly(unfinished)
        with unfinished.open("rb") as file:
            digest = hashlib.sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
    print(f"{output}: {written / 1e6:.1f} MB of text, sha256 {digest.hexdigest()[:16]}")
    if distinct < written:
        print(f"This machine has {distinct / 1e6:.1f} MB of text; the rest is the same again.")


if __name__ == "__main__":
    main()
