"""What others know to be wrong with our dependencies, and secrets in the repository.

    python scripts/audit.py

Run by scripts/check. The first half needs pip-audit (``pip install 'map-reduce[audit]'``) and a
service that knows of vulnerabilities, the second detect-secrets: where one of them cannot be had,
one line says so, and that half is left out. Ends with 1 if something was found.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
AUDIT_S_MAX = 120
GUESSES = ("Base64HighEntropyString", "HexHighEntropyString", "KeywordDetector")
"""Detectors that take digests, and words such as token, for secrets."""


def main() -> int:
    found = vulnerabilities() + secrets()
    for line in found:
        print(line)
    return 1 if found else 0


def vulnerabilities() -> list[str]:
    """Of the versions in requirements.txt."""
    command = ["pip_audit", "--requirement", "requirements.txt", "--no-deps", "--disable-pip"]
    output = run("vulnerabilities", [*command, "--format", "json", "--progress-spinner", "off"])
    if output is None:
        return []
    try:
        dependencies = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        print("vulnerabilities were not looked for: no service that knows of them answers")
        return []
    unknown = [one["name"] for one in dependencies if "skip_reason" in one]
    if unknown:
        print(f"vulnerabilities were not looked for in {', '.join(unknown)}: not known there")
    return [
        f"{one['name']} {one['version']}: {hole['id']}; mended in {hole['fix_versions']}"
        for one in dependencies
        for hole in one.get("vulns", ())
    ]


def secrets() -> list[str]:
    """In what git keeps. A line that only looks like one ends with a pragma that says so."""
    flags = [part for name in GUESSES for part in ("--disable-plugin", name)]
    output = run("secrets", ["detect_secrets", "scan", "--no-verify", *flags])
    if output is None:
        return []
    results = json.loads(output)["results"]
    return [
        f"{path}:{one['line_number']}: {one['type']}"
        for path, secrets_there in results.items()
        for one in secrets_there
    ]


def run(what: str, command: list[str]) -> str | None:
    """What a tool printed; None, with a line that says so, where it is not there or hangs."""
    if importlib.util.find_spec(command[0]) is None:
        print(f"{what} were not looked for: {command[0].replace('_', '-')} is not installed")
        return None
    try:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=AUDIT_S_MAX,
        )
    except subprocess.TimeoutExpired:
        print(f"{what} were not looked for: {command[0]} took more than {AUDIT_S_MAX} s")
        return None
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
