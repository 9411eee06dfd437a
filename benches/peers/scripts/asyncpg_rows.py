"""The tutorial's load: 20 tasks over 20 connections, one INSERT in its own transaction for each row."""

import asyncio

import asyncpg
import people

CONNECTIONS = 20


async def load(url, schema, table, file):
    insert = f"INSERT INTO {schema}.{table} ({', '.join(people.COLUMNS)}) VALUES ($1, $2, $3, $4, $5, $6, $7)"
    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        rows = people.rows(file)  # the one reader of all tasks

        async def work():
            for row in rows:
                await pool.execute(insert, *row)

        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))


asyncio.run(load(*people.load_arguments()))
