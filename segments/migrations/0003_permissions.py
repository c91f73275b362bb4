from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("segments", "0002_schedule"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="segment",
            options={
                "ordering": ("-priority", "slug"),
                "permissions": (
                    ("change_definition", "Can write definitions of segments"),
                    ("refresh_segment", "Can refresh segments"),
                    ("view_members", "Can see the members of segments"),
                ),
                "verbose_name": "segment",
                "verbose_name_plural": "segments",
            },
        ),
    ]
