"""One connection, one transaction, executemany(), which psycopg 3 sends as a pipeline."""

import people
import psycopg

url, schema, table, file = people.load_arguments()
with psycopg.connect(url) as connection, connection.cursor() as cursor:
    cursor.executemany(
        f"INSERT INTO {schema}.{table} ({', '.join(people.COLUMNS)}) VALUES (%s, %s, %s, %s, %s, %s, %s)",
        people.rows(file),
    )
