"""The project of the tests; `SEGMENTS_TEST_USER` names another user model."""

import os

from demo.postgres import database_url, django_database

SECRET_KEY = "tests"
USE_TZ = True
ROOT_URLCONF = "tests.urls"
AUTH_USER_MODEL = os.environ.get("SEGMENTS_TEST_USER", "accounts.SegmentableUser")
DATABASES = {"default": django_database(database_url())}
DATABASES["default"]["TEST"] = {
    "NAME": os.environ.get("SEGMENTS_TEST_NAME", f"test_segments_{AUTH_USER_MODEL.lower()}")
}
if "SEGMENTS_DATABASE" in os.environ:  # For commands in a child process.
    DATABASES["default"]["NAME"] = os.environ["SEGMENTS_DATABASE"]
# The same database by another connection, to evaluate definitions on.
DATABASES["exec"] = {**DATABASES["default"], "TEST": {"MIRROR": "default"}}
SEGMENTS_READER_ROLES = os.environ.get("SEGMENTS_TEST_READERS", "").split()
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_pgviews",
    "django_tasks",
    "django_tasks_db",
    "segments",
]
INSTALLED_APPS += (
    ["tests.accounts", "tests.shop", "tests.stock"]
    if AUTH_USER_MODEL.startswith("accounts.")
    else ["tests.isolated.user_models"]
)
MIGRATION_MODULES = {"django_tasks_database": None}  # Only the test database has its table.
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
MIDDLEWARE = [
    "tests.browser.policy.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
