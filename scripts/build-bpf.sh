#!/usr/bin/env bash
# Compiles each bpf/*.bpf.c to dist/objects/<name>.bpf.o. An object is made again when its source, any header,
# the compiler or this script has changed: what it was made of is kept next to it, so that neither a switched
# branch nor a clock can leave a stale object behind. The object is the same whatever folder it is built in.
#
#   scripts/build-bpf.sh [SOURCE_FOLDER [OUTPUT_FOLDER]]
set -euo pipefail

self=$(realpath "${BASH_SOURCE[0]}")
root=${self%/scripts/*}
sources=$(realpath "${1:-$root/bpf}")
output=$(realpath -m "${2:-$root/dist/objects}")

compiler=
for candidate in clang-19 clang-18 clang-17 clang-16 clang-15 clang; do
	if compiler=$(type -P "$candidate"); then
		break
	fi
done
if [[ -z $compiler ]]; then
	echo "Cannot compile the BPF programs: no clang was found" >&2
	echo "Install clang 15 or later, for example with: apt-get install clang libbpf-dev" >&2
	exit 1
fi
compiler=$(realpath "$compiler")

multiarch=$(gcc -print-multiarch 2>/dev/null || true)
multiarch=${multiarch:-$(uname -m)-linux-gnu}

flags=(-O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror -std=gnu11 -fno-strict-aliasing)
# Paths in the object are relative to the source folder; -I comes first in what the compiler searches.
flags+=("-ffile-prefix-map=$sources=bpf" "-fdebug-prefix-map=$sources=bpf" -fdebug-compilation-dir=.)
flags+=(-I "$sources" -I "/usr/include/$multiarch")

mkdir -p "$output/.made-of"
cd "$sources"

shopt -s nullglob globstar
programs=(*.bpf.c)
parts=(**/*.h)
for source in **/*.c; do
	[[ $source == *.bpf.c && $source != */* ]] || parts+=("$source")
done

# What all objects are made of: this script with its flags, the compiler, the system's headers, our headers.
system=(/usr/include/bpf/*.h /usr/include/linux/bpf.h /usr/include/linux/types.h)
common=$(stat -L -c '%n %s %Y' "$compiler" "${system[@]}" 2>/dev/null || true)
common+=$'\n'$(sha256sum "$self" "${parts[@]}")

temporary=
trap 'rm -f "${temporary:-}"' EXIT

if [[ ${#programs[@]} -gt 0 ]]; then
	mapfile -t digests < <(sha256sum "${programs[@]}")
fi
for i in "${!programs[@]}"; do
	source=${programs[i]}
	name=${source%.c}
	object=$output/$name.o
	record=$output/.made-of/$name
	made_of=$common$'\n'${digests[i]}
	if [[ -f $object && -f $record && $(<"$record") == "$made_of" ]]; then
		continue
	fi
	temporary=$(mktemp "$output/.$name.XXXXXX")
	"$compiler" "${flags[@]}" -c "$source" -o "$temporary"
	chmod 644 "$temporary"
	mv -f "$temporary" "$object"
	printf '%s\n' "$made_of" >"$record"
	echo "$source -> ${object#"$root"/}" >&2
done

# An object whose source is gone must not be loaded any more.
for object in "$output"/*.bpf.o; do
	name=${object##*/}
	[[ -f ${name%.o}.c ]] || rm -f "$object" "$output/.made-of/${name%.o}"
done
