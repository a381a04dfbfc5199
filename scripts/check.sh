#!/usr/bin/env bash
# Everything that can be checked without a kernel: format, lint, types, dead code, generated files, and the unit
# and style tests. Runs all checks, also after one failed, and names those that failed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/node_modules/.bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
failed=()

main() {
	check "set-up" bash scripts/setup.sh --partial
	check "format and lint" biome check --error-on-warnings
	check "types" tsc -p . --noEmit
	check "dead code" knip
	check "generated policy types" tsx scripts/generate-policy-types.ts --check
	if [[ -e dist/objects ]]; then check "generated codecs" tsx scripts/generate-abi.ts --check; fi
	if command -v clang-format-19 >/dev/null; then
		check "format of C" clang-format-19 --dry-run --Werror bpf/*.c bpf/lib/*.h scripts/verifier/*.c
	else
		echo "check: format of C not checked: clang-format-19 is not installed" >&2
	fi
	check "unit and style tests" vitest run --project unit --project style
	if ((${#failed[@]} > 0)); then
		printf 'check: Failed: %s\n' "${failed[@]}" >&2
		exit 1
	fi
	echo "check: All passed" >&2
}

check() {
	local what=$1 started=$SECONDS
	shift
	if "$@" </dev/null; then
		echo "check: $what: passed ($((SECONDS - started)) s)" >&2
	else
		echo "check: $what: failed" >&2
		failed+=("$what")
	fi
}

main
