from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("segments", "0005_ids_from"),
    ]

    operations = [
        migrations.AlterField(
            model_name="segment",
            name="status",
            field=models.CharField(
                choices=[
                    ("unpopulated", "unpopulated"),
                    ("refreshed", "refreshed"),
                    ("outdated", "outdated"),
                    ("failed", "failed"),
                ],
                default="unpopulated",
                editable=False,
                max_length=20,
                verbose_name="status",
            ),
        ),
    ]
