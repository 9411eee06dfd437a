"""One connection, one transaction, COPY of rows by write_row()."""

import people
import psycopg

url, schema, table, file = people.load_arguments()
with psycopg.connect(url) as connection, connection.cursor() as cursor:
    with cursor.copy(f"COPY {schema}.{table} ({', '.join(people.COLUMNS)}) FROM STDIN") as copy:
        for row in people.rows(file):
            copy.write_row(row)
