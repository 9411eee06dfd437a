"""A thread for each connection, which asks again when it has the answer; psycopg 3 prepares the statement."""

import random
import threading
import time

import people
import psycopg

query = people.Query()
sql = query.sql.replace("$1", "%s")
if query.answers():
    with psycopg.connect(query.url, autocommit=True) as connection:
        for number in query.answers():
            print(connection.execute(sql, [number]).fetchone()[0])
else:
    connections = [psycopg.connect(query.url, autocommit=True) for _ in range(query.connections)]
    end = query.begin()

    def work(connection, draw):
        while (asked := time.perf_counter()) < end:
            connection.execute(sql, [draw.randint(query.low, query.high)], prepare=True).fetchone()
            query.latencies.append(time.perf_counter() - asked)

    workers = [
        threading.Thread(target=work, args=(connection, random.Random(query.seed + number)))
        for number, connection in enumerate(connections)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    query.report()
