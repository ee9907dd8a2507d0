#!/bin/sh
# Counts the system calls and context switches of one durable record: one writer, 8, 64 and 256 blocking ones, and one
# thread with tickets. perf counts in the kernel, so that nothing is slowed down by being looked at. Needs perf, and to be
# root. With many writers the figures depend on the machine: how many records share a block.
set -eu
cd "$(dirname "$0")/.."
program=${CARGO_TARGET_DIR:-target}/release/examples/instructions
cargo build -p seawall --release --no-default-features --example instructions 2>/dev/null
[ -x "$program" ] || { echo "$program was not built"; exit 2; }

calls=syscalls:sys_enter
events=raw_syscalls:sys_enter,$calls\_pwrite64,$calls\_fdatasync,$calls\_futex,context-switches,cpu-migrations

count() {
    perf stat -x ' ' -e "$events" "$program" "$1" "$2" 2>&1 >/dev/null | sed -n 's/^\([0-9][0-9]*\) .*/\1/p'
}

echo "of one record:     calls    pwrite fdatasync     futex  switches migrations"
for what in append:4000 writers-8:40000 writers-64:200000 writers-256:200000 tickets:1000000; do
    name=${what%:*} times=${what#*:}
    for _ in 1 2 3; do
        few=$(count "$name" "$times")
        many=$(count "$name" $((times * 2)))
        printf '%s\n%s\n' "$few" "$many" | awk -v n="$times" '
            { v[NR] = $1 }
            END { for (i = 1; i <= 6; i++) printf "%.4f ", (v[i + 6] - v[i]) / n; print "" }'
    done | sort -n | sed -n 2p | awk -v name="$name" '{ printf "%-12s %11.3f %9.3f %9.3f %9.3f %9.3f %10.4f\n", name, $1, $2, $3, $4, $5, $6 }'
done
