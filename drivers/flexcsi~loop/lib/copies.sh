# shellcheck shell=bash
# Copies of images, as of one moment.
#
# A file that is written to while it is copied gives a mixture of before and after, which no file system can repair.
# So what is mounted is frozen until the copy is made: its writers wait, and all that they have written is in
# the image. A frozen file system that nobody thaws would stop the node; three things see to it:
# - It is frozen by a process of its own, in a session of its own, which thaws it when this script closes a pipe, in
#   whatever way: a signal to this script's process group does not reach it.
# - That process has the lock of the image, as all that is started here. The next call waits until it has thawed.
# - If it was killed, too, <image>.frozen is left, and the next call that opens the image thaws.

# copy_image FILE: copies the image into the empty file, and ends the freeze. Sets `rec_shared` if the two share their
# blocks, and `rec_created` to the time of the copy. The caller has opened the image, and had it held still.
copy_image() {
    local words status
    printf -v rec_created '%(%s)T' -1
    rec_shared=yes
    words=$(cp --reflink=always -- "$image" "$1" 2>&1)
    status=$?
    if ((status != 0)); then
        rec_shared=''
        words=$(cp --reflink=never --sparse=always -- "$image" "$1" 2>&1)
        status=$?
    fi
    [[ -z $frozen ]] || thaw
    ((status == 0)) || tool_failed cp "$words"
}

# Freezes what is mounted; `frozen` tells. All that was written to the device is in the image afterwards, so that only
# now the image tells how much room it takes. Sets `moving` if that may still change.
hold_still() {
    local found target
    moving=''
    # Half a file system, in a copy that nobody knows to be one.
    [[ ! -e $image.formatting ]] ||
        refuse FAILED_PRECONDITION "$image: formatting it was cut short, so that there is nothing to copy yet; mount the volume once, then copy it"
    mapfile -t found < <(devices)
    refuse_two_devices "${found[@]}"
    ((${#found[@]} > 0)) || return 0
    device=${found[0]}
    target=$(mount_point_of "$device")
    if [[ -n $target ]]; then
        freeze "$target"
    elif holds_mounted "${device#/dev/}"; then
        refuse FAILED_PRECONDITION "$image: is mounted where this driver cannot see it, so that it cannot be frozen for the copy"
    else
        # Not mounted, or a raw block volume. What a program writes to it during the copy may be there or not.
        moving=yes
        try sync "$device"
    fi
}

# Prints a directory where the device is mounted, and can be reached: another mount may hide it.
mount_point_of() {
    local target source type
    while IFS='' read -r target; do
        printf -v target '%b' "$target"
        source=$(mounted SOURCE "$target")
        type=$(mounted FSTYPE "$target")
        [[ ${source%%\[*} == "$1" ]] || continue
        # btrfs has device numbers of its own.
        [[ $type == btrfs || $(mountpoint --fs-devno "$target") == "$(mountpoint --devno "$1")" ]] || continue
        printf '%s' "$target"
        return
    done < <(findmnt --noheadings --raw --output TARGET --source "$1")
}

# holds_mounted DEVICE: whether the kernel has the device mounted in any mount namespace.
holds_mounted() {
    local each
    for each in /sys/fs/ext4/"$1" /sys/fs/xfs/"$1" /sys/fs/btrfs/*/devices/"$1"; do
        [[ ! -e $each ]] || return 0
    done
    return 1
}

# freeze DIRECTORY
freeze() {
    local words=''
    [[ ! -e $image.frozen ]] ||
        fail "$image: an earlier call was killed while it was frozen, and it cannot be unfrozen; run fsfreeze --unfreeze $1"
    try touch "$image.frozen"
    # shellcheck disable=SC2016 # the inner shell's own
    coproc freezer {
        exec setsid bash -c '
            trap "" HUP INT TERM
            words=$(fsfreeze --freeze "$1" 2>&1) || { rm --force "$2"; printf "%s\n" "${words//$'"'\n'"'/ }"; exit 1; }
            echo frozen
            read -r
            exec fsfreeze --unfreeze "$1"' freezer "$1" "$image.frozen"
    }
    # shellcheck disable=SC2154 # set by coproc
    freezer_pid=$freezer_PID freezer_input=${freezer[1]}
    read -r words <&"${freezer[0]}"
    [[ $words == frozen ]] || fail "$image: fsfreeze: ${words:-ended before it was done}"
    frozen=yes
}

# Ends the freeze, and fails if that is not certain.
thaw() {
    frozen=''
    exec {freezer_input}>&-
    wait "$freezer_pid" || fail "$image: $device cannot be unfrozen; run fsfreeze --unfreeze on where it is mounted"
    try rm --force "$image.frozen"
}

# Thaws what a call left frozen that was killed together with its process for this. As long as that is not certain, the
# file that tells of it stays.
thaw_leftover() {
    local each target found
    mapfile -t found < <(devices)
    # It may be another node's.
    is_local || ((${#found[@]} > 0)) || return 0
    for each in "${found[@]}"; do
        target=$(mount_point_of "$each")
        if [[ -n $target ]]; then
            unfreeze "$target" || return 0
        elif holds_mounted "${each#/dev/}"; then
            # Unmounted while it was frozen, what the kernel goes on holding; or mounted where only others see it.
            # It is the same file system wherever it is mounted: here in a mount namespace that goes by itself.
            # shellcheck disable=SC2016 # the inner shell's own
            unfreeze "${image%/*}" unshare --mount sh -c '{ mount "$0" "$1" || mount --options ro "$0" "$1"; } &&
                shift && exec "$@"' "$each" "${image%/*}" || return 0
        fi
    done
    try rm --force "$image.frozen"
}

# unfreeze DIRECTORY [COMMAND…]: whether what is mounted there is not frozen any more. The command runs fsfreeze.
unfreeze() {
    local words
    words=$("${@:2}" fsfreeze --unfreeze "$1" 2>&1) || [[ $words == *'unfreeze failed: Invalid argument'* ]]
}

# separate FILE: gives the file system in a copy an identity of its own, where the kernel would take it for the
# original. ext does not mind; xfs is mounted with `nouuid`; a btrfs would be taken for another device of the
# one that is mounted, and data be lost.
separate() {
    local found header
    found=$(blkid --probe --match-tag TYPE --output value "$1")
    [[ $found == btrfs ]] || return 0
    command -v btrfstune >/dev/null ||
        refuse FAILED_PRECONDITION "a copy of a btrfs needs btrfstune, of btrfs-progs, for a UUID of its own"
    header=$(btrfs inspect-internal dump-super "$1") || fail "the source's btrfs cannot be read"
    # btrfstune would make the log useless: what was written last would be lost.
    [[ $header =~ $'\n'log_root[[:space:]]+0[[:space:]] ]] ||
        refuse FAILED_PRECONDITION "the source's btrfs was not unmounted cleanly: mount the source once, then copy it"
    try btrfstune -f -m "$1"
}
