"""Versions, where code can see them; pyproject.toml reads the library's from here."""

import sys

VERSION = "0.1.0"

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
"""Python's, as far as it matters: bytecode travels between equal minor versions only."""
