# shellcheck shell=bash
# The verbs that kubelet has.

# attach JSON NODE
attach() {
    read_options "$1"
    if is_other_node "$2"; then refuse NOT_FOUND "node '$2': this driver attaches volumes to its own node only, $NODE_NAME"; fi
    if [[ ! -s $image ]]; then
        refuse_orphans
        [[ -n $size ]] ||
            refuse NOT_FOUND "volume $name: $image: no such image; the option size would let it be created"
        # Creates it with a size of 0: a crash in between leaves nothing that looks like a volume.
        try touch "$image"
    fi
    open_image
    refuse_other_writer
    if [[ ! -s $image ]]; then
        size=$(numfmt --from=auto "$size") || refuse INVALID_ARGUMENT "option size: is too large"
        grow_image "$size"
    fi
    # Before attaching, so that there is no device that `detach` would not find.
    try mkdir --parents "$attached_dir"
    try ln --symbolic --force --no-target-directory "$image" "$attached_dir/$name"
    mark_attached
    attach_image
    succeed ",\"device\":\"$device\""
}

# open_volume: opens the image of volume `name`, which has to be there.
open_volume() {
    [[ -e $image ]] || refuse NOT_FOUND "volume $name: $image: no such image"
    open_image
}

# With a shared directory the other nodes have to know, also whether this one may write: `rw` or `ro` is in the file.
# A node that may write may do so until it detaches.
mark_attached() {
    local mark
    is_local && return
    open_store
    find_node
    mark=$store/attached/$name@$node
    [[ $access == ro && -e $mark ]] || echo "$access" >"$mark" || fail "$mark: cannot be written"
}

# With a shared directory: fails if another node has the volume attached, unless both only read. Even a read-only
# mount would write, beside one that writes: it takes the other's journal for one that a crash has left.
refuse_other_writer() {
    local each
    is_local && return
    [[ $access == ro ]] || refuse_elsewhere "$name"
    find_node
    other_nodes "$name"
    for each in "${others[@]}"; do
        [[ $(<"$store/attached/$name@$each") == ro ]] || refuse_attached_to "$name" "$each"
    done
}

# isattached JSON NODE
isattached() {
    # What is gone is not attached, unless a device has kept it.
    read_options "$1" --canonicalize-missing
    if is_other_node "$2"; then succeed ',"attached":false'; fi
    if [[ -n $(devices; orphans) ]]; then succeed ',"attached":true'; fi
    succeed ',"attached":false'
}

# waitforattach DEVICE JSON: attaches the image again after a reboot, maybe as another device.
waitforattach() {
    read_options "$2"
    open_volume
    refuse_other_writer
    mark_attached
    attach_image
    succeed ",\"device\":\"$device\""
}

# mountdevice DIRECTORY DEVICE JSON
mountdevice() {
    local source
    read_options "$3"
    open_volume
    refuse_other_writer
    mark_attached
    attach_image
    source=$(mounted SOURCE "$1")
    # btrfs: /dev/loop0[/subvolume]
    [[ ${source%%\[*} != "$device" ]] || succeed
    [[ -z $source ]] || fail "$1: $source is mounted there, not $device"
    format_image
    [[ $fs_type != ext* || $access == ro ]] || check_ext
    try mkdir --parents "$1"
    # A copy of an xfs has the UUID of the original, beside which the kernel would not mount it.
    [[ $fs_type != xfs ]] || flags+=${flags:+,}nouuid
    # The access comes last: no flag may make a read-only volume writable.
    try mount --types "$fs_type" --options "${flags:+$flags,}$access" "$device" "$1"
    [[ ! -e $image.frozen ]] || thaw_leftover
    # Others grow only while mounted. If one does not, its data is all there; `expandfs` tells why.
    [[ $access == ro ]] || (grow_mounted "$1") >/dev/null
    succeed
}

# unmountdevice DIRECTORY: not while a copy is made. What is unmounted while it is frozen stays frozen, and the kernel does
# not let go of its device; the process that is to thaw it would not find it any more.
unmountdevice() {
    local source
    source=$(mounted SOURCE "$1")
    [[ -n $source ]] || succeed
    image=$(losetup --noheadings --output BACK-FILE "${source%%\[*}")
    [[ ! -f $image ]] || open_image
    [[ -z $(mounted SOURCE "$1") ]] || try umount "$1"
    succeed
}

# detach NAME NODE
detach() {
    local other shared=''
    # `attach` takes no other names.
    is_name "$1" || succeed
    if is_other_node "$2"; then succeed; fi
    # A volume without a link was not attached since the node started, or the links are lost; its image may be
    # attached all the same if it is where it is by default.
    image=$(readlink "$attached_dir/$1" || realpath --canonicalize-existing "$store/volumes/$1/data.img" ||
        realpath "$store/$1.img") || succeed
    [[ ! -f $image ]] || open_image
    # Two volumes may have one image; the last of them detaches it.
    for other in "$attached_dir"/*; do
        [[ $other == "$attached_dir/$1" || $(readlink "$other") != "$image" ]] || shared=yes
    done
    [[ -n $shared ]] || detach_image
    try rm --force "$attached_dir/$1"
    if ! is_local; then
        find_node
        try rm --force "$store/attached/$1@$node"
    fi
    succeed
}

# expandvolume JSON DIRECTORY NEW_BYTES OLD_BYTES
expandvolume() {
    local device
    [[ $3 =~ ^[1-9][0-9]*$ ]] || refuse INVALID_ARGUMENT "the new size '$3': must be a number of bytes"
    read_options "$1"
    open_volume
    lock_room
    refuse_growth "$3"
    grow_image "$3"
    unlock_room
    for device in $(devices); do try losetup --set-capacity "$device"; done
    succeed
}

# refuse_growth BYTES: fails when there is no room for what is added.
refuse_growth() {
    local old place=${image%/*}
    old=$(stat --format=%s -- "$image") || fail "$image: cannot be looked at"
    # Longer numbers are more than bash can reckon with.
    ((${#1} <= 18)) || refuse OUT_OF_RANGE "$image: cannot have $1 bytes"
    (($1 > old)) || return 0
    [[ $place != *.volume ]] || place=${place%/*}
    measure_room "$place"
    # Not RESOURCE_EXHAUSTED: it would mean that the call may still be running.
    (($1 - old <= room)) || refuse OUT_OF_RANGE "$image: has $old bytes, and there is room for $room more"
    largest_file "$place"
    (($1 <= largest)) || refuse OUT_OF_RANGE "$image: a file there can have $largest bytes, not $1"
}

# expandfs JSON DEVICE DIRECTORY NEW_BYTES OLD_BYTES
expandfs() {
    read_options "$1"
    open_volume
    [[ -n $(mounted SOURCE "$3") ]] || refuse NOT_FOUND "$3: nothing is mounted there"
    attach_image
    grow_mounted "$3"
    succeed
}
