import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("segments", "0008_versions"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="segment",
            name="changes_kept_after",
            field=models.BigIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name="segment",
            name="changes_kept_from",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="segment",
            name="track_changes",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text="Each refresh writes who entered and who left.",
                verbose_name="track changes",
            ),
        ),
        migrations.AddField(
            model_name="segment",
            name="tracked_since",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="membership",
            name="user",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.CreateModel(
            name="ChangeConsumer",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100, verbose_name="name")),
                ("cursor", models.TextField(verbose_name="cursor")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created")),
                (
                    "moved_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="moved"
                    ),
                ),
                (
                    "segment",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="consumers",
                        to="segments.segment",
                    ),
                ),
            ],
            options={
                "ordering": ("segment", "name"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("segment", "name"), name="segments_consumer_name"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="SegmentChange",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("entered", models.BooleanField(verbose_name="entered")),
                ("at", models.DateTimeField(verbose_name="at")),
                (
                    "refresh",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="segments.segmentrefresh",
                    ),
                ),
                (
                    "segment",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="segments.segment",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "segments_change",
                "ordering": ("id",),
                "indexes": [
                    models.Index(fields=["segment", "id"], name="segments_change_segment")
                ],
            },
        ),
    ]
