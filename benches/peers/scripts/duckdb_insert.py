"""DuckDB's reader of CSV, and INSERT … SELECT by its extension for PostgreSQL, which is a binary COPY."""

import duckdb
import people

url, schema, table, file = people.load_arguments()
database = duckdb.connect()
database.execute("LOAD postgres")
database.execute(f"ATTACH '{url}' AS server (TYPE postgres)")
database.execute(f"INSERT INTO server.{schema}.{table} SELECT * FROM read_csv(?, header = true)", [file])
