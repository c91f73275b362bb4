"""Tables that the tests of schema changes alter by migrations."""

from django.conf import settings
from django.db import models


class Plan(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    level = models.CharField(max_length=10)
    score = models.IntegerField()


class Visit(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
