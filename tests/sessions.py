"""Sessions that know nothing of Django, to the databases that its connections lead to."""

import psycopg
from django.db import connections


def connect(alias: str = "default", **params: str) -> psycopg.Connection:
    """Open a session in autocommit mode, as psql would.

    Args:
        alias: Which entry of `DATABASES` to connect to.
        params: Further parameters of libpq.
    """
    known = connections[alias].get_connection_params()
    of_django = {"cursor_factory", "context", "prepare_threshold"}
    params = {name: known[name] for name in known.keys() - of_django} | params
    return psycopg.connect(**params, autocommit=True)
