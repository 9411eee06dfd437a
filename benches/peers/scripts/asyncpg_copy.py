"""One connection, one copy_records_to_table() of all rows, which is a binary COPY."""

import asyncio

import asyncpg
import people


async def load(url, schema, table, file):
    connection = await asyncpg.connect(url)
    await connection.copy_records_to_table(
        table, schema_name=schema, columns=people.COLUMNS, records=people.rows(file)
    )
    await connection.close()


asyncio.run(load(*people.load_arguments()))
