# shellcheck shell=bash
# Images and their devices.

# open_image [--shared]: waits until no other call works on the image, and keeps others off it until this call
# ends; with --shared those only that change it. The tools that are started here inherit the lock: if this script
# is killed, it lasts until they, too, have ended.
open_image() {
    local lock
    [[ -f $image ]] || refuse NOT_FOUND "$image: no such image"
    exec {lock}<>"$image" || fail "$image: cannot be opened for writing"
    flock "${1:---exclusive}" --timeout 60 "$lock" ||
        refuse ABORTED "$image: another call has worked on it for a minute; try again later"
    [[ $image -ef /proc/self/fd/$lock ]] ||
        refuse ABORTED "$image: another file has just taken its place; try again"
    [[ ! -e $image.frozen ]] || thaw_leftover
}

# grow_image BYTES: makes the image at least this large, in whole blocks. What is added takes no space yet.
grow_image() {
    try truncate --size=">$1" "$image"
    try truncate --size=%4096 "$image"
}

# Prints the devices of the image, by whatever path it was attached.
devices() { losetup --noheadings --output NAME --associated "$image"; }

# Prints the devices of an image that was deleted, or replaced by another file, while it was attached.
orphans() {
    local file backing
    for file in /sys/block/loop*/loop/backing_file; do
        IFS='' read -r backing <"$file" || continue
        file=${file#/sys/block/}
        [[ $backing != "$image (deleted)" ]] || echo "/dev/${file%%/*}"
    done
}

# A new image in the place of one that is still attached would look like the loss of its data.
refuse_orphans() {
    local found
    found=$(orphans)
    [[ -z $found ]] || fail "$image: was deleted or replaced while attached as $found, where its data still is"
}

# Each device has a cache of its own, so that two of them damage each other's data.
refuse_two_devices() {
    (($# < 2)) || fail "$image: is attached as $*; run losetup --detach on all but one"
}

# Attaches the image unless it is attached, and sets `device`.
attach_image() {
    local found
    refuse_orphans
    mapfile -t found < <(devices)
    refuse_two_devices "${found[@]}"
    # Takes the device that is there, and calls off a detach that waits for the end of its use.
    try losetup --nooverlap --find "$image"
    device=$(devices)
    [[ -b $device ]] || fail "$image: its device '$device' is not to be seen; is this the /dev of the host?"
    # The image may have grown.
    try losetup --set-capacity "$device"
    if read_record "${image%/*}" && [[ -n $rec_read_ahead ]]; then set_read_ahead "$rec_read_ahead" "$device"; fi
}

# set_read_ahead KIB DEVICE: blockdev counts sectors of 512 bytes.
set_read_ahead() { try blockdev --setra $(($1 * 2)) "$2"; }

# Detaches the image from all its devices, and fails unless they are gone.
detach_image() {
    local found words i
    mapfile -t found < <(devices; orphans)
    ((${#found[@]} > 0)) || return 0
    # Older kernels give a device to its next image with the read-ahead that it had; 128 KiB is their default.
    if read_record "${image%/*}" && [[ -n $rec_read_ahead ]]; then blockdev --setra 256 "${found[0]}"; fi
    words=$(losetup --detach "${found[@]}" 2>&1)
    # The kernel keeps a device that is in use until it is not: udev looks at it for a moment, a mount lasts.
    for ((i = 0; i < 50; i++)); do
        [[ -n $(devices; orphans) ]] || return 0
        sleep 0.1
    done
    words+=$(findmnt --noheadings --output TARGET --source "${found[0]}")
    fail "$image: ${found[*]} is still in use: ${words:-by a program or another mount namespace}"
}
