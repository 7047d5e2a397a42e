#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# compile.sh LOG NVCC ARGUMENT...: runs nvcc. What ptxas tells of every kernel's registers stays in
# LOG for a test to compare; warnings and errors are shown.
log=$1
shift
"$@" 2>"$log" || {
    status=$?
    cat "$log" >&2
    exit "$status"
}
grep -v -e '^ptxas info' -e '^ *[0-9]* bytes stack frame' "$log" >&2 || true
