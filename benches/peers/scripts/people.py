"""The rows of the file, and the command line that all scripts share.

load:   SCRIPT URL TABLE FILE
query:  SCRIPT URL SQL LOW HIGH CONNECTIONS SECONDS SEED, where $1 in SQL is a number from LOW to HIGH
answers: with SECONDS 0, the answers to the first numbers from LOW on, one a line
"""

import csv
import json
import sys
import time

COLUMNS = ("id", "name", "age", "ismarried", "city", "state", "country")
ANSWERS = 50


def rows(file):
    """The people of `file`, with the types of the table's columns."""
    with open(file, newline="", encoding="utf-8") as lines:
        reader = csv.reader(lines)
        next(reader)
        for number, name, age, married, city, state, country in reader:
            yield int(number), name, int(age), married == "true", city, state, country


def load_arguments():
    """URL, schema, table and file."""
    url, table, file = sys.argv[1:]
    schema, _, name = table.rpartition(".")
    return url, schema, name, file


class Query:
    """What is asked, and what came back."""

    def __init__(self):
        self.url, self.sql, *numbers = sys.argv[1:]
        self.low, self.high, self.connections, self.seconds, self.seed = map(int, numbers)
        self.began = None
        self.latencies = []

    def answers(self):
        """Whether only answers are wanted, and the arguments of their questions."""
        return range(self.low, self.low + ANSWERS) if self.seconds == 0 else None

    def begin(self):
        self.began = time.perf_counter()
        return self.began + self.seconds

    def report(self):
        took = time.perf_counter() - self.began
        ordered = sorted(self.latencies)
        at = lambda share: ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e6
        print(json.dumps({
            "queries": len(ordered),
            "seconds": took,
            "latency_us": {
                name: at(share)
                for name, share in [
                    ("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)
                ]
            },
        }))
