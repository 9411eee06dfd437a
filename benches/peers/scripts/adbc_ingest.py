"""Arrow's reader of CSV, and the bulk ingestion of ADBC, which is a binary COPY."""

import adbc_driver_postgresql.dbapi
import people
import pyarrow
import pyarrow.csv

url, schema, table, file = people.load_arguments()
types = {"id": pyarrow.int32(), "age": pyarrow.int16(), "isMarried": pyarrow.bool_()}
convert = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False)
read = pyarrow.csv.read_csv(file, convert_options=convert).rename_columns(list(people.COLUMNS))
with adbc_driver_postgresql.dbapi.connect(url) as connection, connection.cursor() as cursor:
    cursor.adbc_ingest(table, read, mode="append", db_schema_name=schema)
    connection.commit()
