from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("segments", "0003_permissions"),
    ]

    operations = [
        migrations.RenameField("segment", "trace", "read_digest"),
    ]
