#!/usr/bin/env python3
"""Write cities.csv, as data/README.md describes, from three JSON files of GeoNames data.

usage: make_cities.py cities5000.json admin1.json countries.json > cities.csv
"""

import csv
import json
import sys
import unicodedata

PUNCTUATION = set(" -.,'’‘ʻʼ")


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def clean(name):
    return unicodedata.normalize("NFC", " ".join(name.split()))


def is_plain(name):
    """Whether `name` is Latin letters, digits and PUNCTUATION: no second name after a slash, no remark in brackets."""
    return all(
        char in PUNCTUATION
        or char.isdecimal()
        or unicodedata.category(char) == "Mn"
        or char.isalpha() and unicodedata.name(char).startswith("LATIN ")
        for char in name
    )


def main(cities, admin1, countries):
    states = {entry["code"]: clean(entry["name"]) for entry in load(admin1)}
    countries = {code: clean(entry["name"]) for code, entry in load(countries).items()}
    places = set()
    for place in load(cities).values():
        city = clean(place["name"])
        state = states.get(f"{place['countrycode']}.{place['admin1code']}")
        if city and state and is_plain(city):
            places.add((countries[place["countrycode"]], state, city))

    sys.stdout.reconfigure(encoding="utf-8", newline="")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["city", "state", "country"])
    writer.writerows((city, state, country) for country, state, city in sorted(places))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
