# shellcheck shell=bash
# What the scripts in this directory have in common. They source it; nobody runs it.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Says what happens now, on standard error, with the seconds since the script began.
say() {
    printf '[%4ds] %s\n' "$SECONDS" "$*" >&2
}

# Ends with an error and what to do about it.
fail() {
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 4
}

# Installs Debian packages that are missing: the named ones, or those that build and run a local
# cluster.
install_packages() {
    local missing=() package
    [ $# -gt 0 ] ||
        set -- mmdebstrap debian-archive-keyring gpgv ca-certificates iproute2 util-linux e2fsprogs gcc libc6-dev
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "installing ${missing[*]}"
    apt-get update --quiet=2 >&2
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends \
        "${missing[@]}" >&2
}

# Puts Prometheus' `promtool` into PATH, unpacked in this directory: its package would start a server.
need_promtool() {
    command -v promtool >/dev/null && return
    (
        cd "$1" && apt-get update --quiet=2 &&
            apt-get download --quiet=2 prometheus && dpkg -x prometheus_*.deb .
    ) >&2 || return
    export PATH=$PATH:$1/usr/bin
}

# Stops with a clear message where a tool is missing that no Debian package here brings.
need_toolchains() {
    [ "$(id -u)" = 0 ] || fail 'not root' 'namespaces, mounts and cgroups need root: run it with `sudo`'
    command -v cargo >/dev/null || fail 'no `cargo` in `PATH`' 'install Rust with rustup'
    need_musl_target
    command -v go >/dev/null || fail 'no `go` in `PATH`' 'install Go 1.26 or newer'
}

# Installs the Rust targets that probes are built for, where the toolchain lacks them: the named ones, or
# that of this machine's own probe.
need_musl_target() {
    local target
    [ $# -gt 0 ] || set -- "$(uname -m)-unknown-linux-musl"
    for target in "$@"; do
        [ ! -d "$(rustc --print target-libdir --target "$target")" ] || continue
        command -v rustup >/dev/null ||
            fail "the Rust toolchain can not build for $target" \
                'install Rust with rustup, or the package of your distribution for this target'
        say "installing the Rust target $target"
        rustup --quiet target add "$target" >&2 ||
            fail "rustup can not install $target" "see what rustup says above, or run \`rustup target add $target\`"
    done
}

# Builds programs, unless `ci/test` has built all of them: with the tests they have other features, so
# that cargo would build most of the workspace a second time.
build_programs() {
    [ -n "${NESTCHECK_IS_BUILT:-}" ] || cargo build --quiet --locked "$@"
}

# Installs a tool of cargo's where the next checkout finds it, and other projects do not see it. A
# debug build takes half the time of a release build, and these tools run for seconds; nobody debugs
# them.
install_tool() {
    local name=$1 version=$2 root
    root=${XDG_CACHE_HOME:-$HOME/.cache}/nestcheck/$name-$version
    PATH=$root/bin:$PATH
    [ -x "$root/bin/$name" ] ||
        CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --locked --debug --root "$root" "$name@$version"
}
