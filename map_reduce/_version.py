"""The version, where code can see it; pyproject.toml reads it from here."""

VERSION = "0.1.0"
