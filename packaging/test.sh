#!/bin/sh
# Every test but the soak: most beside each other, then alone those that compare times with the truth, or boot a
# machine of their own.
#
# Where real programs race on two shared cores, a test can fail by what ran beside it. So the few that failed run
# once more by themselves, and are named at the end; what fails again has failed, and so has a run in which more
# than a few did.
#
# usage: packaging/test.sh PYTEST WORKERS
set -u
pytest=$1
workers=$2
few=3
looked=$(mktemp)
trap 'rm -f "$looked"' EXIT

run() { # MARKS, more options of pytest
    marks=$1
    shift
    "$pytest" -q -m "$marks" --cache-clear "$@"
    status=$?
    [ "$status" -eq 1 ] || return "$status"
    failed=$("$pytest" -q -m "$marks" --last-failed --collect-only | grep ::)
    [ "$(printf '%s\n' "$failed" | wc -l)" -le "$few" ] || return 1
    printf 'A second look, alone, at what failed:\n%s\n' "$failed"
    "$pytest" -q -m "$marks" --last-failed || return
    printf '%s\n' "$failed" >>"$looked"
}

run "not soak and not quiet" -n "$workers" --dist loadgroup || exit
run "quiet and not soak" || exit
while read -r name; do
    echo "failed beside others, passed alone: $name"
done <"$looked"
