#!/usr/bin/env bash
# Brings a clone to the point where it can be tested and run: system packages, mounts, npm packages, build. Does
# only what is missing and says only what it does, so it may be called before everything. It never removes a
# package, and without root it installs nothing outside the clone.
#
#   bash scripts/setup.sh            everything, or exit code 1 with what is missing and how to get it
#   bash scripts/setup.sh --root     the same, and the rights of root count as missing too
#   bash scripts/setup.sh --guest    the same, and what a virtual machine with Linux 6.1 needs (npm run verifier)
#   bash scripts/setup.sh --partial  go on with what works (unit tests need no compiler and no kernel)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

readonly node_least=20.19 clang_least=15
readonly clang_wanted=(clang-19 clang-18 clang-17 clang-16 clang-15) # as scripts/build-bpf.sh takes them
partial=false needs_root=false needs_guest=false log=""
missing=() packages=()

main() {
	for option in "$@"; do
		case "$option" in
		--partial) partial=true ;;
		--root) needs_root=true ;;
		--guest) needs_guest=true ;;
		*) fail "Cannot set up: unknown option $option" ;;
		esac
	done
	lock
	check_node
	find_missing
	if ((${#packages[@]} > 0)) && is_root && has apt-get; then
		install_packages
		find_missing
	fi
	mount_filesystems
	if [[ $needs_root == true ]] && ! is_root; then
		missing+=("the rights of root, for network namespaces and BPF programs")
	fi
	report_missing
	get_guest_kernel
	install_node_modules
	build
}

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
	say "$*"
	exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }
is_root() { [[ $(id -u) == 0 ]]; }

# The lock is on this file, open for reading: it works for every user and leaves no lock file behind.
lock() {
	has flock || return 0
	exec 9<"scripts/setup.sh"
	if ! flock --nonblock 9; then
		say "Waiting for another set-up of this clone"
		flock 9
	fi
}

# Runs a command silently; shows the end of what it printed if it fails. $1 says what is being done.
quietly() {
	local what=$1 status=0
	shift
	log=$(mktemp)
	say "$what"
	"$@" >"$log" 2>&1 9<&- </dev/null || status=$?
	if ((status != 0)); then
		tail -n 40 "$log" >&2
		say "Failed (exit code $status): $*"
	fi
	rm -f "$log"
	return "$status"
}

# Debian 12 and Ubuntu 24.04 package an older Node, so this one cannot be installed from here.
check_node() {
	local version=none
	if has node && has npm; then
		version=$(node --version)
		version=${version#v}
		at_least "$version" "$node_least" && return 0
	fi
	fail "Cannot set up: Node $node_least or newer with npm is needed, found: $version" \
		"(get it from https://nodejs.org/en/download)"
}

at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort --version-sort | head -n 1) == "$2" ]]; }

# What is needed is asked for by what it provides, never by the name of a package.
find_missing() {
	missing=() packages=()
	want "clang $clang_least or newer" clang has_clang
	want "libbpf.so.1" libbpf1 has_libbpf
	want "libbpf's headers" libbpf-dev test -e /usr/include/bpf/bpf_helpers.h
	want "the kernel's headers for user space" linux-libc-dev test -e /usr/include/linux/bpf.h
	want "bpftool" bpftool has_bpftool
	want "ip (iproute2)" iproute2 has ip
	want "git" git has git
	want "nsenter" util-linux has nsenter
	want "pgrep" procps has pgrep
	want "CA certificates" ca-certificates test -s /etc/ssl/certs/ca-certificates.crt
	[[ $needs_guest == false ]] || want "qemu" qemu-system-x86 has qemu-system-x86_64
}

want() {
	local what=$1 package=$2
	shift 2
	if ! "$@"; then
		missing+=("$what")
		packages+=("$package")
	fi
}

has_clang() {
	local name
	for name in "${clang_wanted[@]}"; do
		has "$name" && return 0
	done
	has clang && at_least "$(clang -dumpversion 2>/dev/null || echo 0)" "$clang_least"
}

has_libbpf() { [[ $(ldconfig -p 2>/dev/null) == *"libbpf.so.1 "* ]]; }

# Ubuntu's bpftool is a wrapper that refuses to run where the package for exactly the running kernel is absent.
has_bpftool() { has bpftool && bpftool version >/dev/null 2>&1; }

in_apt() { [[ $(apt-cache policy "$1" 2>/dev/null) =~ Candidate:\ [0-9] ]]; }

# Turns the plain names in `packages` into what this distribution calls them.
name_packages() {
	local i name
	for i in "${!packages[@]}"; do
		case "${packages[$i]}" in
		clang)
			for name in "${clang_wanted[@]}"; do
				if in_apt "$name"; then
					packages[i]=$name
					break
				fi
			done
			;;
		bpftool)
			if ! in_apt bpftool; then
				packages[i]=linux-tools-common
				packages+=(linux-tools-generic)
			fi
			;;
		esac
	done
}

install_packages() {
	export DEBIAN_FRONTEND=noninteractive
	# Some package lists may be out of reach; whether the packages can be had shows itself in the next step.
	quietly "Updating the package lists" apt-get update -q || true
	name_packages
	quietly "Installing ${packages[*]} (system packages)" \
		apt-get install -y -q --no-install-recommends "${packages[@]}" || true
	has_bpftool || link_ubuntu_bpftool
}

link_ubuntu_bpftool() {
	local tool
	for tool in /usr/lib/linux-tools/*/bpftool; do
		[[ -x $tool ]] || continue
		say "Linking /usr/local/sbin/bpftool to $tool, since the wrapper finds none for this kernel"
		mkdir -p /usr/local/sbin
		ln -sf "$tool" /usr/local/sbin/bpftool
		hash -r
		return 0
	done
}

mount_filesystems() {
	is_root || return 0
	mount_one bpf /sys/fs/bpf
	mount_one tracefs /sys/kernel/tracing
}

# A container may forbid it: whoever needs the mount finds out and says so.
mount_one() {
	local type=$1 folder=$2
	[[ -d $folder ]] || return 0
	grep -q " $folder $type " /proc/mounts && return 0
	if mount -t "$type" "$type" "$folder" 2>/dev/null; then
		say "Mounted $folder"
	else
		say "Cannot mount $folder: not permitted here"
	fi
}

report_missing() {
	((${#missing[@]} > 0)) || return 0
	local thing
	say "Missing here:"
	for thing in "${missing[@]}"; do say "  - $thing"; done
	if ((${#packages[@]} > 0)); then
		if has apt-cache; then name_packages; fi
		say "Get it with: sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages[*]}"
	fi
	if [[ $partial == true ]]; then
		say "Going on with what works without it"
		return 0
	fi
	is_root || say "Run the same command as root, which gets what is missing: sudo env \"PATH=\$PATH\" <the command>"
	exit 1
}

get_guest_kernel() {
	[[ $needs_guest == true ]] || return 0
	bash scripts/get-kernel.sh --cached >/dev/null 2>&1 && return 0
	quietly "Getting Debian 12's kernel 6.1" bash scripts/get-kernel.sh || [[ $partial == true ]]
}

# Nobody's npm packages are replaced without need: what counts is whether the versions are those of the lockfile.
install_node_modules() {
	local stamp=node_modules/.penstock-lock wanted
	wanted=$(sha256sum package-lock.json)
	if [[ -e $stamp && $(<"$stamp") == "$wanted" ]]; then return 0; fi
	if ! node_modules_match; then
		quietly "Installing npm packages" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	fi
	(printf '%s\n' "$wanted" >"$stamp") 2>/dev/null || true
}

node_modules_match() {
	[[ -e node_modules/.package-lock.json ]] || return 1
	node -e '
		const read = (path) => JSON.parse(require("node:fs").readFileSync(path, "utf8")).packages;
		const wanted = read("package-lock.json");
		const found = read("node_modules/.package-lock.json");
		const same = (path) => found[path]?.version === wanted[path].version
			&& found[path].integrity === wanted[path].integrity;
		const fits = Object.keys(wanted).every((path) => path === "" || same(path) || wanted[path].optional);
		process.exit(fits && Object.keys(found).every((path) => path in wanted) ? 0 : 1);
	'
}

build() {
	if has_clang && [[ -e /usr/include/bpf/bpf_helpers.h ]]; then
		step objects "Compiling BPF programs" dist/objects bpf scripts/build-bpf.sh -- bash scripts/build-bpf.sh
		step abi "Checking generated codecs" src/abi dist/objects src/abi scripts/generate-abi.ts -- \
			npx tsx scripts/generate-abi.ts --check
	fi
	step types "Checking generated policy types" src/policy schema src/policy scripts/generate-policy-types.ts -- \
		npx tsx scripts/generate-policy-types.ts --check
	step dist "Compiling TypeScript" dist/cli/main.js src tsconfig.json tsconfig.build.json package-lock.json -- \
		compile_typescript
}

# step <name> <what is done> <output> <inputs...> -- <command...>: runs the command if an input changed since it
# last succeeded or the output is gone.
step() {
	local name=$1 what=$2 output=$3 stamp=build/stamps/$1 inputs=() digest
	shift 3
	while [[ $1 != -- ]]; do
		inputs+=("$1")
		shift
	done
	shift
	digest=$(find "${inputs[@]}" -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
	if [[ -e $output && -e $stamp && $(<"$stamp") == "$digest" ]]; then return 0; fi
	quietly "$what" "$@"
	mkdir -p build/stamps
	printf '%s\n' "$digest" >"$stamp"
}

# Compiled files whose source is gone must not stay behind: they would still be found and run.
compile_typescript() {
	local compiled source
	npx tsc -p tsconfig.build.json
	while IFS= read -r compiled; do
		source=${compiled#dist/}
		source=src/${source%.map}
		[[ -e ${source%.js}.ts ]] || rm -f "$compiled"
	done < <(find dist -path dist/objects -prune -o -type f \( -name '*.js' -o -name '*.js.map' \) -print)
	[[ ! -e dist/cli/main.js ]] || chmod +x dist/cli/main.js
}

trap '[[ -z $log ]] || rm -f "$log"' EXIT
main "$@"
