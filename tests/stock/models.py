"""What schema changes are made to in tests; migrations of their own alter it."""

from django.conf import settings
from django.db import models


class Plan(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    level = models.CharField(max_length=10)
    score = models.IntegerField()


class Visit(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
