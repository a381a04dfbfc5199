#!/usr/bin/env bash
# Sets up what the demo needs, then runs it; arguments go to the demo. It needs root, since it makes network
# namespaces and loads BPF programs; without root it says so and what else is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

bash scripts/setup.sh --root
exec node_modules/.bin/tsx scripts/demo.ts "$@"
