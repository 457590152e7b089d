# shellcheck shell=bash
# Where provisioned volumes and snapshots are, and how they come and go whole.
#
#   <dir>/<name>.volume/data.img             a volume: its image, and what is to be remembered of it
#   <dir>/<name>.volume/record
#   <dir>/<name>.snapshot/data.snapshot      a snapshot: not *.img, so that no option can have it attached
#   <dir>/<name>.snapshot/record
#   <dir>/.flexcsi-loop.<name>.volume.<n>    a draft, which takes n bytes at most; of snapshots likewise
#
# and in the default directory, which is the same for all of them:
#
#   volumes/<name>, snapshots/<name>         links to these directories; what has none is not there
#   pending/<name>.volume, ….snapshot        a link to what is not there yet, or not any more: to be removed
#   dirs/                                    links to the directories in which there are or were any
#   attached/<name>@<node>                   with FLEXCSI_LOOP_SHARED: this node has attached it, `rw` or `ro`
#   locks/                                   see below
#
# What is new is written as a draft, brought to disk, and moved into place while `pending` points to the place; the
# link then moves from `pending` to `volumes`. Deletion goes the same way back. So a crash leaves drafts, which
# `sweep` finds, and pending links, which `finish_pending` finds.
#
# Locks, in this order; a call takes at most one of each kind, so that no two calls wait for each other:
# 1. locks/<kind>.<name> (`lock_name`): one call at a time makes, changes or deletes the volume or snapshot.
# 2. the image itself (`open_image`): one call at a time works on an image; as a source of copies, several.
# 3. locks/room (`lock_room`): one call at a time looks for room and takes it. Under it, `reserve` and `sweep` lock
#    the images of drafts, too, but do not wait for them.

# open_store: makes the directories, but only in the default directory.
open_store() {
    local each
    for each in volumes snapshots pending dirs attached locks; do
        [[ -d $store/$each ]] || try mkdir --parents "$store/$each"
    done
}

# ---- Records ----

# read_record DIRECTORY: sets the rec_… variables; 1 if there is no record, as beside images that were not
# provisioned. Starts no program: it is called for every volume of a list.
read_record() {
    local line
    clear_record
    [[ -f $1/record ]] || return 1
    while IFS='' read -r line; do
        case $line in
            dir=*) rec_dir=${line#*=} ;;
            store=*) rec_store=${line#*=} ;;
            source_volume=*) rec_source_volume=${line#*=} ;;
            source_snapshot=*) rec_source_snapshot=${line#*=} ;;
            created=*) rec_created=${line#*=} ;;
            read_ahead=*) rec_read_ahead=${line#*=} ;;
            shared=*) rec_shared=${line#*=} ;;
        esac
    done <"$1/record"
    # A record is never there in part, since it is moved into place. Of one that a full disk or a hand has
    # emptied nothing must be concluded.
    [[ -n $rec_dir && -n $rec_created ]]
}

clear_record() {
    rec_dir='' rec_store='' rec_source_volume='' rec_source_snapshot='' rec_created='' rec_read_ahead='' rec_shared=''
}

# write_record DIRECTORY: the rec_… variables.
write_record() {
    local file=$1/record
    printf '%s\n' "dir=$rec_dir" "store=$store" "source_volume=$rec_source_volume" \
        "source_snapshot=$rec_source_snapshot" "created=$rec_created" "read_ahead=$rec_read_ahead" \
        "shared=$rec_shared" >"$file.new" || tool_failed record "$file.new cannot be written: No space left on device?"
    try sync "$file.new"
    try mv --no-target-directory "$file.new" "$file"
    try sync "$1"
}

# find_provisioned NAME: sets `home` and `image`; 1 if no volume of that name was provisioned.
find_provisioned() { find_kept volume "$1"; }

# find_kept KIND NAME
find_kept() {
    local link=$store/$1s/$2
    home='' image=''
    is_id "$2" && [[ -L $link ]] || return 1
    if home=$(realpath --canonicalize-existing -- "$link"); then
        image=$home/${data_of[$1]}
        if [[ -f $image ]] && read_record "$home"; then return; fi
    fi
    # Just deleted: the link goes first.
    if [[ ! -L $link ]]; then
        home='' image=''
        return 1
    fi
    refuse UNAVAILABLE "$1 $2: ${image:-$(readlink -- "$link")} or its record is missing or damaged: mount its disk; if it is lost for good, remove $link"
}
declare -Ar data_of=([volume]=data.img [snapshot]=data.snapshot)

# ---- Names ----

# lock_name KIND NAME: until the end of the call. The file is removed then; who has waited for the removed one takes
# the next.
lock_name() {
    local path=$store/locks/$1.$2 lock
    until [[ -n $name_lock ]]; do
        exec {lock}<>"$path" || fail "$path: cannot be opened for writing"
        flock --timeout 60 "$lock" ||
            refuse ABORTED "$1 $2: another call has worked on it for a minute; try again later"
        if [[ $path -ef /proc/self/fd/$lock ]]; then name_lock=$path; else exec {lock}>&-; fi
    done
    finish_pending "$1" "$2"
}

# finish_pending KIND NAME: removes what a call that was interrupted had not yet made visible, or no longer.
finish_pending() {
    local link=$store/pending/$2.$1 path
    [[ -L $link ]] || return 0
    path=$(readlink -- "$link") || fail "$link: cannot be read"
    if [[ -e $path ]]; then
        # Another default directory, or a hand, may have put something there.
        if [[ -e $path/record ]] && ! { read_record "$path" && [[ $rec_store == "$store" ]]; }; then
            refuse FAILED_PRECONDITION "$path: was not made by this driver in $store; look at it, then remove $link"
        fi
        image=$path/${data_of[$1]}
        if [[ -f $image ]]; then
            open_image
            refuse_attached
        fi
        remove_home "$path"
    fi
    try rm --force "$link"
    try sync "$store/pending"
}

# publish KIND NAME DIRECTORY: the draft becomes what it is to be.
publish() {
    local place=$3/$2.$1 link=$store/pending/$2.$1
    try sync "$draft/${data_of[$1]}" "$draft"
    refuse_taken "$place"
    try ln --symbolic --force --no-target-directory "$place" "$link"
    try sync "$store/pending"
    # Who looks for room must find it in one of the two places.
    lock_room
    # Onto a directory with anything in it the kernel moves nothing.
    try mv --no-target-directory "$draft" "$place"
    draft=''
    unlock_room
    try sync "$3"
    try mv --no-target-directory "$link" "$store/$1s/$2"
    try sync "$store/$1s" "$store/pending"
}

refuse_taken() {
    [[ ! -e $1 ]] || refuse ALREADY_EXISTS "$1: is there, but not known in $store; it is left as it is"
}

# unpublish KIND NAME: deletes for good what `find_kept` has found. The caller has its locks.
unpublish() {
    local link=$store/pending/$2.$1
    try mv --no-target-directory "$store/$1s/$2" "$link"
    try sync "$store/$1s" "$store/pending"
    remove_home "$home"
    try rm --force "$link"
    try sync "$store/pending"
}

# remove_home DIRECTORY: only what this driver puts there; with anything else in it, the directory stays. The record,
# which tells whose it is, goes last.
remove_home() {
    try rm --force "$1/data.img" "$1/data.snapshot" "$1/data.img.formatting" "$1/data.img.frozen" "$1/record.new" \
        "$1/record"
    try rmdir "$1"
    try sync "${1%/*}"
}

# ---- Room ----

lock_room() {
    local seconds=60
    open_store
    exec {room_lock}<>"$store/locks/room" || fail "$store/locks/room: cannot be opened for writing"
    # While a file system is frozen, its writers wait as well.
    [[ -z $frozen ]] || seconds=10
    flock --timeout "$seconds" "$room_lock" ||
        refuse ABORTED "$store: another call has looked for room for too long; try again"
}

unlock_room() { exec {room_lock}>&-; }

# measure_room DIRECTORY: sets `room`, the bytes of its file system that are free and not promised. Promised is what
# the images there may still grow by: their size without what they take already.
# - An image that shares its blocks with another (a reflink) is counted in full: each block that is written to, in
#   either of the two, takes a new one.
# - A snapshot is never written to. It is counted when it shares blocks, with what it takes.
# - A draft is counted with what it takes at most.
measure_room() {
    local free block line path bytes blocks device inode number i files=()
    local -A paths=()
    number=$(stat --format=%d -- "$1") || fail "$1: cannot be looked at"
    # The directories of this file system, each once, whatever its path.
    while read -r device inode path; do
        [[ $device != "$number" ]] || paths[$inode]=$path
    done < <(stat --dereference --format='%d %i %n' -- "$1" "$store" "$store"/dirs/*)
    for path in "${paths[@]}"; do
        files+=("$path"/*.img "$path"/*.volume/data.img "$path"/*.snapshot/data.snapshot
            "$path"/.flexcsi-loop.*/data.*)
    done
    line=$(stat --file-system --format='%a %S' -- "$1") || fail "$1: its file system cannot be looked at"
    read -r free block <<<"$line"
    # Directories and records take room as well.
    room=$((free * block - 131072))
    # In parts: the arguments of a program have a limit.
    for ((i = 0; i < ${#files[@]}; i += 1000)); do
        while read -r bytes blocks path; do
            path=${path%/*}
            # Of images that were not provisioned there is none.
            read_record "$path"
            if [[ $path == */.flexcsi-loop.* ]]; then
                room=$((room - ${path##*.}))
            elif [[ $path == *.snapshot ]]; then
                [[ -z $rec_shared ]] || room=$((room - blocks * 512))
            elif [[ -n $rec_shared ]]; then
                room=$((room - bytes))
            elif ((bytes > blocks * 512)); then
                room=$((room - bytes + blocks * 512))
            fi
        done < <(stat --format='%s %b %n' -- "${files[@]:i:1000}")
    done
    room=$((room > 0 ? room / 4096 * 4096 : 0))
}

# largest_file DIRECTORY: sets `largest` to the size that a file can have there.
largest_file() {
    local type block
    read -r block type < <(stat --file-system --format='%S %T' -- "$1")
    case $type in
        ext*) largest=$(((4294967296 - 1) * block / 4096 * 4096)) ;;
        msdos) largest=$((4294967296 - 4096)) ;;
        *) largest=9223372036854771712 ;;
    esac
}

# reserve KIND NAME DIRECTORY BYTES: sets `draft`, a directory with an empty image that takes its bytes from now on.
reserve() {
    local lock path
    lock_room
    know_directory "$3"
    sweep "$3"
    measure_room "$3"
    (($4 <= room)) || refuse RESOURCE_EXHAUSTED "$3: has room for $room bytes, not for $4"
    path=$3/.flexcsi-loop.$2.$1.$4
    try mkdir "$path"
    draft=$path
    exec {lock}<>"$draft/${data_of[$1]}" && flock --nonblock "$lock" || fail "$draft: cannot be written to"
    unlock_room
}

# know_directory DIRECTORY: what is promised there counts from now on.
know_directory() {
    local sum
    read -r sum _ < <(cksum <<<"$1")
    [[ $1 -ef $store || $store/dirs/$sum -ef $1 ]] ||
        try ln --symbolic --force --no-target-directory "$1" "$store/dirs/$sum"
}

# sweep DIRECTORY: removes the drafts on which no call works any more.
sweep() {
    local each lock data
    for each in "$1"/.flexcsi-loop.*.volume.* "$1"/.flexcsi-loop.*.snapshot.*; do
        data=$each/data.img
        [[ -e $data ]] || data=$each/data.snapshot
        if [[ -e $data ]]; then
            exec {lock}<>"$data" || continue
            if flock --nonblock "$lock"; then remove_draft "$each"; fi
            exec {lock}>&-
        else
            remove_draft "$each"
        fi
    done
}

# remove_draft DIRECTORY: what cannot be removed now is left to a later `sweep`.
remove_draft() {
    rm --force "$1/data.img" "$1/data.snapshot" "$1/record.new" "$1/record"
    rmdir "$1"
}

# ---- Nodes ----

# Sets `node` to this node as CSI's topology can name it.
find_node() {
    node=${NODE_NAME-}
    [[ -n $node ]] || read -r node </proc/sys/kernel/hostname
    # At most 63 characters; names of nodes may be longer.
    ((${#node} <= 63)) || node=${node:0:52}-$(cksum <<<"$node" | cut --delimiter=' ' --fields=1)
}

# Whether the images are on a disk of this node, and its volumes of no use to another.
is_local() { [[ ${FLEXCSI_LOOP_SHARED-} != true ]]; }

# is_other_node NODE: whether the caller means another node; where NODE_NAME is not set, none is.
is_other_node() { [[ -n ${NODE_NAME-} && $1 != "$NODE_NAME" ]]; }

# other_nodes NAME: sets `others` to the nodes that have attached the volume, apart from this one.
other_nodes() {
    local mark
    others=()
    is_local && return
    for mark in "$store/attached/$1@"*; do
        [[ ${mark##*@} == "$node" ]] || others+=("${mark##*@}")
    done
}

# Fails while the image is attached to this node.
refuse_attached() {
    local found
    mapfile -t found < <(devices)
    ((${#found[@]} == 0)) || refuse FAILED_PRECONDITION "$image: is attached as ${found[*]}"
}

# refuse_elsewhere NAME: what another node does with an image is not to be seen here.
refuse_elsewhere() {
    find_node
    other_nodes "$1"
    ((${#others[@]} == 0)) || refuse_attached_to "$1" "${others[0]}"
}

# refuse_attached_to NAME NODE
refuse_attached_to() {
    refuse FAILED_PRECONDITION "volume $1: is attached to node $2; if that node is gone for good, remove $store/attached/$1@$2"
}

# here_among PLACES: whether one of them is this node: `a=1,b=2;a=3` are two places. Sets `node`.
here_among() {
    local place
    find_node
    [[ -n $1 ]] && is_local || return 0
    IFS=';' read -ra all_places <<<"$1"
    for place in "${all_places[@]}"; do
        [[ $place != "$node_key=$node" ]] || return 0
    done
    return 1
}
readonly node_key=loop.flexcsi/node
