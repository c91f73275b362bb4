import datetime
from typing import Any

import django.core.validators
from django.db import migrations, models


def attempted_when_refreshed(apps: Any, schema_editor: Any) -> None:
    """Let segments be due when they would have been."""
    segments = apps.get_model("segments", "Segment").objects.using(schema_editor.connection.alias)
    segments.update(attempted_at=models.F("refreshed_at"))


class Migration(migrations.Migration):
    dependencies = [
        ("segments", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="segment",
            name="attempted_at",
            field=models.DateTimeField(editable=False, null=True, verbose_name="attempted"),
        ),
        migrations.AddField(
            model_name="segment",
            name="timeout",
            field=models.DurationField(
                blank=True,
                help_text="How long its queries may run, such as 00:05:00. Empty means the setting's value.",
                validators=[
                    django.core.validators.MinValueValidator(datetime.timedelta(microseconds=1000))
                ],
                null=True,
                verbose_name="timeout",
            ),
        ),
        migrations.AddField(
            model_name="segment",
            name="trace",
            field=models.CharField(default="", editable=False, max_length=32),
        ),
        migrations.AlterField(
            model_name="segmentrefresh",
            name="status",
            field=models.CharField(
                choices=[
                    ("unpopulated", "unpopulated"),
                    ("refreshed", "refreshed"),
                    ("unchanged", "unchanged"),
                    ("failed", "failed"),
                ],
                max_length=20,
                verbose_name="status",
            ),
        ),
        migrations.RunPython(attempted_when_refreshed, migrations.RunPython.noop, elidable=True),
    ]
