"""User segments for Django, kept in Postgres as materialized views."""

__version__ = "0.1.0"
