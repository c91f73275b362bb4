"""The same with a replica that all reads go to, as docs/scaling.md recommends it."""

from demo.postgres import django_database
from tests.scaling.docs import block, parameters
from tests.scaling.settings import *  # noqa: F403
from tests.scaling.settings import DATABASES, PRIMARY

REPLICA = PRIMARY.replica(parameters("hot_standby_feedback"))
DATABASES["replica"] = django_database(REPLICA.url())
_namespace = {}
exec(block("python", "class ReplicaRouter"), _namespace)
DATABASE_ROUTERS = [_namespace["ReplicaRouter"]()]
