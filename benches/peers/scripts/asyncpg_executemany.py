"""One connection, one transaction, one executemany() of all rows."""

import asyncio

import asyncpg
import people


async def load(url, schema, table, file):
    insert = f"INSERT INTO {schema}.{table} ({', '.join(people.COLUMNS)}) VALUES ($1, $2, $3, $4, $5, $6, $7)"
    connection = await asyncpg.connect(url)
    await connection.executemany(insert, people.rows(file))
    await connection.close()


asyncio.run(load(*people.load_arguments()))
