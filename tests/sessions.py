"""Plain sessions of psycopg to the databases of Django's connections."""

import psycopg
from django.db import connections


def connect(alias: str = "default", **params: str) -> psycopg.Connection:
    """Open a session in autocommit mode, as psql would.

    Args:
        alias: The entry of `DATABASES` to connect to.
        params: Further parameters of libpq.
    """
    known = connections[alias].get_connection_params()
    of_django = {"cursor_factory", "context", "prepare_threshold"}
    params = {name: known[name] for name in known.keys() - of_django} | params
    return psycopg.connect(**params, autocommit=True)
