"""The admin, and nothing else."""

from django.contrib import admin
from django.urls import path

admin.site.site_header = admin.site.site_title = "django-segments demo"

urlpatterns = [path("", admin.site.urls)]
