# shellcheck shell=bash
# File systems in images.

# mounted COLUMN DIRECTORY: prints what findmnt has in this column for what is mounted at the directory.
mounted() { findmnt --noheadings --first-only --direction backward --output "$1" --mountpoint "$2"; }

# Whether nothing was ever written to the image. blkid knows many formats, but not all.
is_empty() {
    local written
    try sync "$device"
    # A new image has no blocks. One with blocks is read: they may be preallocated.
    [[ $(stat --format=%b "$image") != 0 ]] || return 0
    written=$(tr --delete '\0' <"$image" | head --bytes=1 | wc --bytes) && ((written == 0))
}

# Formats the image if it is empty, and sets `fs_type` to what it holds.
format_image() {
    local found status words options=(-q)
    # As long as this file exists, formatting was begun and the image was never mounted: what is in it is not a user's,
    # even if it looks like a file system. That of a mkfs which was cut short may not be one that can be mounted.
    local begun=$image.formatting
    found=$(blkid --probe --match-tag TYPE --output value "$device")
    status=$?
    if [[ -e $begun ]]; then
        ! holds_mounted "${device#/dev/}" ||
            refuse FAILED_PRECONDITION "$image: is mounted, and yet not formatted to the end, as $begun says; remove the one that is wrong"
        status=2
    fi
    case $status in
        0)
            [[ ${fs_type:-$found} == "$found" || $fs_type$found == ext?ext? ]] ||
                refuse FAILED_PRECONDITION "$image: holds ${found:-a partition table}, not $fs_type"
            fs_type=$found
            ;;
        2)
            [[ $access == rw ]] ||
                refuse FAILED_PRECONDITION "$image: is not formatted, and cannot be for a read-only mount"
            fs_type=${fs_type:-ext4}
            if [[ -e $begun ]]; then
                if [[ $fs_type == ext* ]]; then options+=(-F); else options+=(-f); fi
            elif ! is_empty; then
                refuse FAILED_PRECONDITION "$image: holds data of an unknown kind, and is not formatted"
            fi
            # No blocks kept for root, as kubelet does it.
            [[ $fs_type != ext* ]] || options+=(-m 0)
            try touch "$begun"
            try sync "${image%/*}"
            words=$("mkfs.$fs_type" "${options[@]}" "$device" 2>&1)
            status=$?
            if ((status != 0)); then
                # A tool that is missing, say, has begun nothing: what is in the image later may be somebody's.
                ! is_empty || rm --force "$begun"
                tool_failed "mkfs.$fs_type" "${words:-exit status $status}"
            fi
            # After a failure of power it must not be there again, beside data.
            try rm --force "$begun"
            try sync "${image%/*}"
            ;;
        *) fail "$image: blkid cannot tell what it holds; it is neither formatted nor mounted" ;;
    esac
}

# Repairs an ext file system as far as that is safe, and grows it to the size of its device. Here as well as in
# `expandfs`, because growing it while it is mounted takes CAP_SYS_RESOURCE, which a container may lack.
check_ext() {
    local header blocks=0 block_size=1 words force=''
    header=$(dumpe2fs -h "$device")
    [[ $header =~ 'Block count:'\ +([0-9]+) ]] && blocks=${BASH_REMATCH[1]}
    [[ $header =~ 'Block size:'\ +([0-9]+) ]] && block_size=${BASH_REMATCH[1]}
    ((blocks >= $(blockdev --getsize64 "$device") / block_size)) || force=-f
    words=$(e2fsck -p $force "$device" 2>&1)
    case $? in
        0 | 1) [[ -z $force ]] || try resize2fs "$device" ;;
        # Mounted already, for another volume with this image; or damaged so badly that mounting fails, too.
        8) ;;
        *) fail "$image: $words" ;;
    esac
}

# grow_mounted DIRECTORY: grows the file system mounted there to the size of its device.
grow_mounted() {
    local words
    case $(mounted FSTYPE "$1") in
        ext*)
            words=$(resize2fs "$device" 2>&1) ||
                fail "$image: $words; the file system grows when the volume is next mounted on a node"
            ;;
        xfs) try xfs_growfs "$1" ;;
        btrfs) try btrfs filesystem resize max "$1" ;;
    esac
}
