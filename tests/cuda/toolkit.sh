#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# toolkit.sh DIRECTORY: the CUDA 12.4 toolkit of Debian 13 (non-free) in DIRECTORY/toolkit, with
# DIRECTORY/native.ini for meson to choose it. The last toolkit that Debian has, and it knows Volta.
# Packages come from the mirror that this system uses, through its own apt and with its keys, but
# nothing is installed: they are unpacked, and apt's lists lie in DIRECTORY too.
set -euo pipefail

release=trixie
packages=(nvidia-cuda-toolkit nvidia-cuda-dev libnvvm4 libcublaslt12 libcublas12 libcudart12
    libcu++-dev)
tools=(nvcc ptxas fatbinary nvlink cudafe++ bin2c cicc crt __nvcc_device_query)

say() {
    printf 'toolkit: %s\n' "$*" >&2
}

# The first mirror of Debian itself, and not of its updates, that apt is told of.
mirror() {
    local suite
    suite=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    apt-get indextargets --format '$(CODENAME) $(SITE)' 'Identifier: Packages' |
        awk -v suite="$suite" '$1 == suite && !found { print $2; found = 1 }'
}

own_apt() {
    apt-get -q -o Dir::Etc::sourcelist="$directory/debian.sources" -o Dir::Etc::sourceparts=- \
        -o Dir::State::Lists="$directory/lists" -o Dir::Cache="$directory/cache" \
        -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)" "$@" >&2
}

fetch() {
    local site
    site=$(mirror)
    if [ -z "$site" ]; then
        say "apt knows no mirror of Debian: nothing to fetch the toolkit from"
        exit 1
    fi
    mkdir -p "$directory"/{lists/partial,cache/archives/partial,packages}
    printf '%s\n' 'Types: deb' "URIs: $site" "Suites: $release" 'Components: main non-free' \
        'Architectures: amd64' 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' \
        >"$directory/debian.sources"
    say "fetching 1.3 GB from $site"
    own_apt update
    (cd "$directory/packages" && own_apt download "${packages[@]}")
}

# The programs lie in two places: nvcc wants them, and its profile, beside itself.
unpack() {
    local root=$directory/toolkit package tool place
    rm -rf "$root"
    mkdir -p "$root/bin"
    for package in "$directory"/packages/*.deb; do
        dpkg -x "$package" "$root"
    done
    find "$root" -name '*_static*.a' ! -name libcudart_static.a -delete # gigabytes
    for tool in "${tools[@]}"; do
        for place in "$root/usr/lib/nvidia-cuda-toolkit/bin" "$root/usr/bin"; do
            [ -e "$root/bin/$tool" ] || [ ! -e "$place/$tool" ] || mv "$place/$tool" "$root/bin"
        done
    done
    printf '%s\n' "NVVMIR_LIBRARY_DIR = $root/usr/lib/nvidia-cuda-toolkit/libdevice" \
        "PATH += $root/bin:" "INCLUDES += \"-I$root/usr/include\" \$(_SPACE_)" \
        "LIBRARIES =+ \$(_SPACE_) \"-L$root/usr/lib/x86_64-linux-gnu\"" >"$root/bin/nvcc.profile"
    printf "[binaries]\nnvcc = '%s'\n" "$root/bin/nvcc" >"$directory/native.ini"
    rm -rf "$directory"/{packages,lists,cache}
}

directory=$(mkdir -p "$1" && cd "$1" && pwd)
if [ ! -f "$directory/native.ini" ]; then
    fetch
    unpack
fi
"$directory/toolkit/bin/nvcc" --version >&2
