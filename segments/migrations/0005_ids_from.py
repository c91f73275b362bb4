from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("segments", "0004_read_digest"),
    ]

    operations = [
        migrations.AddField(
            "segment",
            "ids_from",
            models.TextField(blank=True, default="", editable=False, verbose_name="ids from"),
        ),
    ]
