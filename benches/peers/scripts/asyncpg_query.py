"""The tutorial's queries: a pool, and a task for each connection that asks again when it has the answer."""

import asyncio
import random
import time

import asyncpg
import people


async def ask(query):
    size = query.connections
    async with asyncpg.create_pool(query.url, min_size=size, max_size=size) as pool:
        if query.answers():
            for number in query.answers():
                print(await pool.fetchval(query.sql, number))
            return
        end = query.begin()
        draw = random.Random(query.seed)

        async def work():
            async with pool.acquire() as connection:
                while (asked := time.perf_counter()) < end:
                    await connection.fetchval(query.sql, draw.randint(query.low, query.high))
                    query.latencies.append(time.perf_counter() - asked)

        await asyncio.gather(*(work() for _ in range(size)))
        query.report()


asyncio.run(ask(people.Query()))
