#!/usr/bin/env bash
# Runs all tests that can run here, after setting up what they need; arguments go to vitest. Without root or BPF
# the kernel and end-to-end tests are left out, loudly and counted; REQUIRE_KERNEL=1 turns that into a failure.
# Leaves nothing behind, also when interrupted. The last line is `Tests: N passed, N failed, N skipped`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# What tests make is called pk-<pid>-* or penstock-test-<pid>*, be it a network namespace or a folder in bpffs, with
# the process id of its maker: a worker, which notes its id in the file PENSTOCK_TEST_WORKERS. Their processes are
# known by PENSTOCK_TEST_RUN, their temporary files by TMPDIR. So another run at the same time is left alone.
export PENSTOCK_TEST_RUN="$$-$EPOCHSECONDS"
readonly bpffs=/sys/fs/bpf netns=/run/netns
scratch=$(mktemp -d /tmp/penstock-test.XXXXXX)
export PENSTOCK_TEST_WORKERS=$scratch/workers
vitest_pid=""
set_up_failed=0 kernel_missing=0 blocker=""

main() {
	before=$(list_leavings)
	trap 'interrupted INT' INT
	trap 'interrupted TERM' TERM
	trap 'interrupted HUP' HUP
	trap clean_up EXIT

	bash scripts/setup.sh --partial || set_up_failed=1
	if [[ ! -e node_modules/vitest/vitest.mjs ]]; then
		echo "Tests: 0 passed, 1 failed, 0 skipped"
		exit 1
	fi

	local status=0
	blocker=$(find_blocker)
	if [[ -n $blocker ]]; then
		count_left_out
		export WITHOUT_KERNEL_TESTS=1
	fi
	run_vitest "$@" || status=$?
	clean_up
	trap - EXIT INT TERM HUP

	[[ -z $blocker ]] || tell_left_out
	((set_up_failed == 0)) || echo "test: The set-up failed (see above), which counts as one failed test" >&2
	if ((status == 0 && (set_up_failed || kernel_missing))); then status=1; fi
	printf '%s\n' "$tally"
	exit "$status"
}

# Says in a few words why kernel tests cannot run here, or nothing if they can.
find_blocker() {
	local probe=$bpffs/penstock-test-$$-probe
	if [[ $(id -u) != 0 ]]; then
		echo "not root"
	elif ! grep -q " $bpffs bpf " /proc/mounts; then
		echo "no BPF file system at $bpffs"
	elif ! bpftool map create "$probe" type array key 4 value 4 entries 1 name probe >/dev/null 2>&1; then
		echo "this kernel or container does not let root make a BPF map (or bpftool is missing)"
	elif rm -f "$probe" && ! unshare --net true 2>/dev/null; then
		echo "this kernel or container does not let root make a network namespace"
	fi
}

# Job control gives vitest a process group of its own: an interrupt reaches this script alone, which then ends the
# whole group and cleans up. The tally is read from vitest's own report.
run_vitest() {
	local status=0 report=$scratch/report.json
	mkdir -p "$scratch/tmp"
	set -m
	TMPDIR=$scratch/tmp node node_modules/vitest/vitest.mjs run --reporter=default --reporter=json \
		--outputFile.json="$report" "$@" </dev/null &
	vitest_pid=$!
	set +m
	wait "$vitest_pid" || status=$?
	vitest_pid=""
	tally=$(left_out_tests=${left_out_tests:-0} set_up_failed=$set_up_failed kernel_missing=$kernel_missing \
		node -e '
		const env = (name) => Number(process.env[name]);
		let passed = 0, failed = env("set_up_failed"), skipped = 0;
		try {
			const report = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
			passed = report.numPassedTests;
			failed += report.numFailedTests;
			skipped = report.numPendingTests + report.numTodoTests;
			// A file that could not be loaded has no tests to count: it counts as one.
			const broken = (file) => file.status === "failed" && !file.assertionResults.some((t) => t.status === "failed");
			failed += report.testResults.filter(broken).length;
		} catch {
			failed += 1;
		}
		if (env("kernel_missing")) failed += env("left_out_tests");
		else skipped += env("left_out_tests");
		console.log(`Tests: ${passed} passed, ${failed} failed, ${skipped} skipped`);
	' "$report")
	return "$status"
}

# Counts tests without running them; a table test counts as one.
count_left_out() {
	local list=$scratch/list.json
	left_out_files=$(find test/kernel test/e2e -name '*.test.ts' | wc -l)
	left_out_tests=$left_out_files
	if node node_modules/vitest/vitest.mjs list --static-parse --project=kernel --project=e2e --json="$list" \
		>/dev/null 2>&1 </dev/null; then
		left_out_tests=$(node -p 'JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8")).length' "$list")
	fi
	if [[ ${REQUIRE_KERNEL:-} == 1 ]]; then kernel_missing=1; fi
}

tell_left_out() {
	local what="left out"
	((kernel_missing == 0)) || what="MISSING, and REQUIRE_KERNEL=1 makes that a failure"
	cat >&2 <<-TEXT

		!!! Kernel and end-to-end tests were $what: $left_out_files files with $left_out_tests or more tests.
		!!! Reason: $blocker.
		!!! To run them, as root on Linux: sudo env "PATH=\$PATH" npm test
	TEXT
}

# shellcheck disable=SC2317 # called by the traps
interrupted() {
	trap '' INT TERM HUP
	trap - EXIT
	echo "test: Interrupted, cleaning up" >&2
	if [[ -n $vitest_pid ]]; then
		kill -INT -- "-$vitest_pid" 2>/dev/null || true
		wait_while 3 kill -0 -- "-$vitest_pid"
		kill -KILL -- "-$vitest_pid" 2>/dev/null || true
		wait_while 1 kill -0 -- "-$vitest_pid"
	fi
	clean_up
	trap - "$1"
	kill "-$1" $$
}

# wait_while <seconds> <command...>: waits until the command fails, so many seconds at most.
wait_while() {
	local tenths=$(($1 * 10))
	shift
	while ((tenths-- > 0)) && "$@" 2>/dev/null; do sleep 0.1; done
}

list_leavings() {
	find "$netns" "$bpffs" -mindepth 1 -maxdepth 1 \( -name 'pk-*' -o -name 'penstock-test-*' \) 2>/dev/null || true
}

clean_up() {
	local leaving
	end_processes
	while IFS= read -r leaving; do
		is_ours "$leaving" || continue
		echo "test: Removing $leaving" >&2
		case $leaving in
		"$netns"/*) ip netns delete "${leaving##*/}" || true ;;
		"$bpffs"/*) rm -rf -- "$leaving" ;;
		esac
	done < <(list_leavings)
	rm -rf -- "$scratch"
}

is_ours() {
	grep -qxF -- "$1" <<<"$before" && return 1
	[[ ${1##*/} =~ ^(pk|penstock-test)-([0-9]+) ]] || return 1
	[[ ${BASH_REMATCH[2]} == "$$" ]] || grep -qxF -- "${BASH_REMATCH[2]}" "$PENSTOCK_TEST_WORKERS" 2>/dev/null
}

# Processes that tests started and that left vitest's process group (agents, servers).
end_processes() {
	local file pid
	for file in /proc/[0-9]*/environ; do
		pid=${file#/proc/} pid=${pid%/environ}
		[[ $pid != "$$" ]] || continue
		grep -qzx "PENSTOCK_TEST_RUN=$PENSTOCK_TEST_RUN" "$file" 2>/dev/null || continue
		echo "test: Ending process $pid ($(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | cut -c 1-80))" >&2
		kill -KILL "$pid" 2>/dev/null || true
		wait_while 1 kill -0 "$pid"
	done
}

main "$@"
