#!/usr/bin/env bash
# Sets up what the demo needs, then runs it; arguments go to the demo. It needs root, since it makes network
# namespaces and loads BPF programs; without root it says so and what else is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

bash scripts/setup.sh --root
# One process: a launcher in between would kill the demo when it is slow to answer a signal, before it has cleaned up.
exec node --import tsx scripts/demo.ts "$@"
