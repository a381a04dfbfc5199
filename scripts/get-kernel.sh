#!/usr/bin/env bash
# Prints the path of Debian 12's kernel 6.1, which `npm run verifier` boots in a virtual machine. It is taken out of
# its package, never installed, and kept in a folder of the user's cache; apt checks what it downloads.
#
#   bash scripts/get-kernel.sh            downloads it unless it is there
#   bash scripts/get-kernel.sh --cached   exit code 1 unless it is there
set -euo pipefail

readonly package=linux-image-cloud-amd64 series=6.1
readonly cache=${XDG_CACHE_HOME:-~/.cache}/penstock/kernels
scratch=

main() {
	local image
	image=$(find_image)
	if [[ -z $image && ${1:-} != --cached ]]; then
		download
		image=$(find_image)
	fi
	[[ -n $image ]] || fail "Debian 12's kernel $series is not in $cache (get it with: bash scripts/get-kernel.sh)"
	printf '%s\n' "$image"
}

fail() {
	printf 'get-kernel: %s\n' "$*" >&2
	exit 1
}

find_image() {
	[[ -d $cache ]] || return 0
	find "$cache" -maxdepth 1 -name "vmlinuz-$series.*" | sort --version-sort | tail -n 1
}

# The plain package depends on the one of the newest build, which holds the kernel.
newest_build() { apt-cache depends "$package" 2>/dev/null | sed -n "s/^ *Depends: \(linux-image-$series\..*\)/\1/p"; }

download() {
	local build
	type -P apt-get dpkg-deb >/dev/null || fail "apt-get and dpkg-deb are needed to get Debian 12's kernel $series"
	build=$(newest_build)
	if [[ -z $build && $(id -u) == 0 ]]; then
		apt-get update -q >/dev/null || true
		build=$(newest_build)
	fi
	[[ -n $build ]] || fail "apt knows no $package of series $series: Debian 12's package lists are needed"
	mkdir -p "$cache"
	# In the cache, so that what is moved there at the end is moved in one step.
	scratch=$(mktemp -d "$cache/.download.XXXXXX")
	trap 'rm -rf -- "$scratch"' EXIT
	(
		cd "$scratch"
		timeout 300 apt-get download -q -o APT::Sandbox::User=root "$build" >/dev/null
		dpkg-deb --fsys-tarfile ./*.deb | tar -x --wildcards './boot/vmlinuz-*'
	) || fail "Cannot download and unpack $build (see above)"
	mv "$scratch"/boot/vmlinuz-* "$cache/"
}

main "$@"
