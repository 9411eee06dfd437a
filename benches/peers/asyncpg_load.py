#!/usr/bin/env python3
"""The tutorial's load in Python: 20 tasks over 20 connections, one INSERT in its own transaction for each row.

usage: asyncpg_load.py URL FILE
"""

import asyncio
import csv
import sys

import asyncpg

CONNECTIONS = 20
INSERT = "INSERT INTO persons (id, name, age, ismarried, city, state, country) VALUES ($1, $2, $3, $4, $5, $6, $7)"


async def load(url: str, file: str) -> None:
    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        await pool.execute("TRUNCATE persons")
        with open(file, newline="", encoding="utf-8") as lines:
            people = csv.DictReader(lines)

            async def insert() -> None:
                for person in people:  # the one reader of all tasks
                    await pool.execute(
                        INSERT,
                        int(person["id"]),
                        person["name"],
                        int(person["age"]),
                        person["isMarried"] == "true",
                        person["city"],
                        person["state"],
                        person["country"],
                    )

            await asyncio.gather(*(insert() for _ in range(CONNECTIONS)))


asyncio.run(load(*sys.argv[1:]))
