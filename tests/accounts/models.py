"""The user model, as the README shows it."""

from django.contrib.auth.models import AbstractUser

from segments.models import SegmentMixin


class SegmentableUser(AbstractUser, SegmentMixin):
    pass
