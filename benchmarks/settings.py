"""The settings of the benchmarks: the least that segments need, in a database of its own."""

from benchmarks.database import NAME
from demo.postgres import database_url, django_database

SECRET_KEY = "benchmarks"
DEBUG = False
USE_TZ = True
DATABASES = {"default": django_database(database_url(durable=True)) | {"NAME": NAME}}
AUTH_USER_MODEL = "accounts.SegmentableUser"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django_pgviews",
    "segments",
    "tests.accounts",
]
SEGMENTS_WORK_MEM = "64MB"
