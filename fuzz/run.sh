#!/bin/sh
# Fuzzes each target for MINUTES, one after the other: ./run.sh MINUTES [TARGET...]
# Needs nightly and cargo-fuzz (cargo install cargo-fuzz --locked). Inputs found go to corpus/, failing ones to artifacts/.
set -u
minutes=${1:?usage: run.sh MINUTES [TARGET...]}
shift
cd "$(dirname "$0")" || exit 1
[ $# -gt 0 ] || set -- open_arbitrary open_mutated decode raft_ops raft_arbitrary verify_tool
# One allocation may take so much: far more than any input asks for with a right to.
malloc_limit_mb=64
found=0
for target in "$@"; do
    log=$(mktemp)
    mkdir -p "corpus/$target"
    # What reads arbitrary bytes runs under the address sanitizer, which enforces the limit on allocations; the crate has
    # no unsafe code there, and the others are several times faster without.
    case $target in
        decode) max_len=4352 sanitizer=address ;;
        open_arbitrary | raft_arbitrary) max_len=2048 sanitizer=address ;;
        *) max_len=2048 sanitizer=none ;;
    esac
    cargo +nightly fuzz run -O -s $sanitizer --target-dir "target/$sanitizer" "$target" "corpus/$target" "../tests/fuzz_seeds/$target" -- \
        -max_total_time=$((minutes * 60)) -max_len=$max_len -timeout=20 -rss_limit_mb=2048 \
        -malloc_limit_mb=$malloc_limit_mb -print_final_stats=1 >"$log" 2>&1
    status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    finding=$(sed -n 's/^.*Test unit written to //p' "$log" | tail -1)
    if [ $status -eq 0 ]; then
        echo "$target: ${runs:-?} executions, no finding"
        rm -f "$log"
    else
        echo "$target: ${runs:-?} executions, FINDING ${finding:-none written}, see $log"
        found=1
    fi
done
exit $found
