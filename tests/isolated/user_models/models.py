"""User models with keys, columns and tables of every kind."""

import uuid

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

from segments.models import SegmentMixin


class UserManager(BaseUserManager):
    def get_by_natural_key(self, username):
        return self.get(username=username)

    def early(self):
        return self.filter(username__lt="u3")


class User(AbstractBaseUser, SegmentMixin):
    username = models.CharField(max_length=30, unique=True)

    USERNAME_FIELD = "username"

    objects = UserManager()

    class Meta:
        abstract = True


class IntegerUser(User):
    id = models.AutoField(primary_key=True)


class BigUser(User):
    id = models.BigAutoField(primary_key=True)


class UUIDUser(User):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)


class TextUser(User):
    code = models.CharField(max_length=20, primary_key=True)


class OddUser(User):
    number = models.BigAutoField(primary_key=True, db_column="Customer No")

    class Meta:
        db_table = "Odd Users; --"


class ShownManager(UserManager):
    def get_queryset(self):
        return super().get_queryset().filter(deleted=False)


class SoftUser(User):
    id = models.BigAutoField(primary_key=True)
    deleted = models.BooleanField(default=False)

    objects = ShownManager()
    all_objects = UserManager()


class Person(models.Model):
    name = models.CharField(max_length=30)


class ChildUser(Person, User):
    objects = UserManager()


class Note(models.Model):
    """A model whose manager methods select users."""

    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
