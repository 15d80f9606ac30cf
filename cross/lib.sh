# What cross/build and size-report/run share; sourced, with the project's root as directory.

TARGETS="aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf arm-unknown-linux-musleabihf x86_64-unknown-linux-musl"

# plain: rustup has the target's standard library. build-std: Debian's compiler builds one that is
# optimised for size. Plain wins where both are there, because that is what users have.
cross_way() {
    if [ -n "${BROOKLET_CROSS:-}" ]; then
        echo "$BROOKLET_CROSS"
    elif rustup target list --installed 2>/dev/null | grep -qx "$1"; then
        echo plain
    elif [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] \
        && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std" ]; then
        echo build-std
    else
        echo "cross/build: no standard library for $1: 'rustup target add $1' brings one, or" \
            "'.ci/install cross' what Debian builds one from (cross/README.md)" >&2
        return 1
    fi
}

# zig (the linker and the C library) and cargo-zigbuild, as requirements.txt pins them: another zig
# makes another binary.
cross_tools() {
    local tools=${CARGO_TARGET_DIR:-$PWD/target}/cross/tools
    cmp -s cross/requirements.txt "$tools/requirements.txt" || .ci/install zig >&2 || return 1
    export PATH=$tools/bin:$PATH
}

# The command that runs a target's binary on this machine; nothing when there is none.
cross_emulator() {
    local wanted
    case $1 in
        "$(uname -m)"-*) echo env; return ;;
        aarch64-*) wanted="qemu-aarch64-static" ;;
        # Any ARMv6 board is at least this one: an ARMv7 instruction in the binary dies here.
        arm-*) wanted="qemu-arm-static -cpu arm1176" ;;
        armv7-*) wanted="qemu-arm-static -cpu cortex-a7" ;;
        x86_64-*) wanted="qemu-x86_64-static" ;;
    esac
    command -v ${wanted%% *} >/dev/null && echo "$wanted"
}

# Runs the binary once: it must be static, start, and say its version.
cross_check() {
    local run said
    if head -c 4096 "$2" | grep -q 'ld-musl\|ld-linux'; then
        echo "cross: $2 asks for a dynamic loader" >&2
        return 1
    fi
    if ! run=$(cross_emulator "$1"); then
        echo "cross: $1 was not run: Debian's qemu-user-static is not here (.ci/install cross)" >&2
        return 0
    fi
    said=$(timeout 60 $run "$2" --version)
    case $said in
        "brooklet "*) echo "cross: $1 says: $said" >&2 ;;
        *) echo "cross: $1 --version said '$said'" >&2; return 1 ;;
    esac
    # The control: this shows that the emulated processor does refuse newer code.
    if [ "${1%%-*}" = armv7 ] && timeout 60 qemu-arm-static -cpu arm1176 "$2" --version >/dev/null 2>&1; then
        echo "cross: note: the armv7 binary runs on an ARMv6 processor" >&2
    fi
}
