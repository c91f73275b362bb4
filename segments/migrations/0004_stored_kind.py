from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("segments", "0003_permissions"),
    ]

    operations = [
        migrations.AddField(
            model_name="segment",
            name="stored_kind",
            field=models.GeneratedField(
                db_column="kind",
                db_persist=True,
                expression=models.Case(
                    models.When(
                        models.Q(("manager_method", ""), _negated=True),
                        then=models.Value("manager"),
                    ),
                    models.When(
                        models.Q(("definition", ""), _negated=True), then=models.Value("sql")
                    ),
                    default=models.Value("static"),
                ),
                output_field=models.CharField(max_length=7),
            ),
        ),
    ]
