#!/bin/sh
# Counts the instructions of one append, read, step of an iterator, and open, with callgrind: the same whatever
# else the machine does. Compares with benches/instructions.txt and fails where one takes over 10 % more;
# `benches/instructions.sh --write` writes that file anew. Needs valgrind.
set -eu
cd "$(dirname "$0")/.."
program=${CARGO_TARGET_DIR:-target}/release/examples/instructions
cargo build -p seawall --release --no-default-features --example instructions 2>/dev/null
[ -x "$program" ] || { echo "$program was not built"; exit 2; }

# Instructions of all threads: those of N repetitions.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 |
        sed -n 's/^==[0-9]*== Collected : \([0-9]*\).*/\1/p'
}

# The median of three differences: threads of the log come and go between others.
each() {
    for _ in 1 2 3; do
        few=$(count "$1" "$2")
        many=$(count "$1" $(($2 * 2)))
        echo $(((many - few) / $2))
    done | sort -n | sed -n 2p
}

found=$(
    for what in append:500 read:5000 iterate:5000 open:4; do
        echo "${what%:*} $(each "${what%:*}" "${what#*:}")"
    done
)
if [ "${1:-}" = --write ]; then
    echo "$found" >benches/instructions.txt
    cat benches/instructions.txt
    exit
fi
echo "$found" | awk '
    NR == FNR { committed[$1] = $2; next }
    {
        ratio = $2 / committed[$1]
        printf "%-10s %8d instructions, %.3f of the committed %d\n", $1, $2, ratio, committed[$1]
        if (ratio > 1.1) { slower = slower " " $1 }
    }
    END { if (slower) { print "over 10 % more:" slower; exit 1 } }
' benches/instructions.txt -
