"""Migrations of the app stock that tests write, and processes that work on it meanwhile."""

import os
import subprocess
import sys

from django.db import connection

from tests.processes import ROOT

MIGRATION = """
from django.db import migrations, models


def call(apps, schema_editor):
    from tests.sync import evolving

    evolving.during()


class Migration(migrations.Migration):
    atomic = {atomic}
    dependencies = [("stock", "{after}")]
    replaces = {replaces}
    operations = [
{operations}
    ]
"""

during = print
"""The function that a migration with RunPython(call) calls; tests set it."""

CALL = "migrations.RunPython(call, migrations.RunPython.noop),"


def start(evolve, code):
    """Run Python code in a child process, on the database and the migrations of the test."""
    setup = (
        "import django; django.setup();"
        "from django.conf import settings; from django.db import connections;"
        f"settings.MIGRATION_MODULES = {{'stock': '{evolve.package}'}};"
        f"connections['default'].settings_dict['NAME'] = '{connection.settings_dict['NAME']}';"
        "from django.core.management import call_command;"
    )
    return subprocess.Popen(
        [sys.executable, "-c", setup + code],
        cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{evolve.path}"},
    )  # fmt: skip
