"""Coverage-guided fuzzing of one target or of all, with atheris (``pip install atheris``).

    python tests/fuzz/run.py TARGET|all [--runs 1000000] [--seconds 600] [--keep FOLDER]

Begins with what is right, and with the corpus. What finds new paths is kept in the
folder that ``--keep`` names, in a folder for each target. Ends with the first finding, whose input
is then in a file ``crash-…`` there; a target that needs more than 1 GiB is one, too.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # for what the tests share
INPUT_BYTES_MAX = 4096


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    if options.target != "all":
        return fuzz(options)
    from targets import TARGETS

    for name in TARGETS:  # a process each: libFuzzer does not return
        command = [sys.executable, __file__, name, "--runs", str(options.runs)]
        command += ["--seconds", str(options.seconds)]
        command += ["--keep", str(options.keep)] if options.keep else []
        if subprocess.run(command).returncode != 0:
            return 1
    return 0


def fuzz(options: argparse.Namespace) -> int:
    """Does not return, but for an error."""
    try:
        import atheris
    except ImportError:
        print("this needs atheris: pip install atheris", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["map_reduce", "targets"]):
        from targets import TARGETS
    from seeds import seeds_of

    logging.disable()
    keep = (options.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))) / options.target
    keep.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds_of(options.target)):
        (keep / f"seed-{number}").write_bytes(data)
    flags = [f"-atheris_runs={options.runs}", f"-max_total_time={options.seconds}"]
    flags += [f"-max_len={INPUT_BYTES_MAX}", "-rss_limit_mb=1024", f"-artifact_prefix={keep}/"]
    print(f"{options.target}:", flush=True)
    atheris.Setup([sys.argv[0], *flags, str(keep)], TARGETS[options.target])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
