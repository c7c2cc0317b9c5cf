from django.db import migrations

# A rollup's row is rewritten by each commit of its hour: room in its page keeps that out of the indexes (HOT updates)
ROOM = "".join(f"ALTER TABLE {table} SET (fillfactor = 50);" for table in ("billing_hourlyusage", "billing_dailyusage"))
NO_ROOM = ROOM.replace("SET (fillfactor = 50)", "RESET (fillfactor)")


class Migration(migrations.Migration):
    dependencies = (("billing", "0001_initial"),)
    operations = (migrations.RunSQL(ROOM, reverse_sql=NO_ROOM),)
