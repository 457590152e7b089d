# shellcheck shell=bash
# The verbs that make, delete and describe volumes. kubelet has none of them.

# provision JSON
provision() {
    local place bytes source_bytes=0
    parse_options "$1"
    is_id "$name" || refuse INVALID_ARGUMENT "volume name '$name': $id_rule"
    check_wishes
    refuse_modes
    [[ -z $source_volume || -z $source_snapshot ]] || refuse INVALID_ARGUMENT "two sources: at most one can be used"
    here_among "$places" || refuse RESOURCE_EXHAUSTED "volumes of this driver are on node $node only, not in $places"
    open_store
    lock_name volume "$name"
    if find_provisioned "$name"; then answer_present; fi
    image=''
    [[ ! -e $store/$name.img ]] ||
        refuse ALREADY_EXISTS "$store/$name.img: is there and was not provisioned by this driver"
    place=$(realpath --canonicalize-existing -- "${dir:-$store}" 2>/dev/null) && [[ -d $place ]] ||
        refuse RESOURCE_EXHAUSTED "parameter dir: there is no directory $dir on this node"
    refuse_taken "$place/$name.volume"

    if [[ -n $source_volume$source_snapshot ]]; then
        open_source
        source_bytes=$(stat --format=%s -- "$image") || fail "$image: cannot be looked at"
    fi
    choose_size "$source_bytes"
    largest_file "$place"
    ((bytes <= largest)) || refuse OUT_OF_RANGE "$place: a file there can have $largest bytes, not $bytes"
    reserve volume "$name" "$place" "$bytes"
    clear_record
    if ((source_bytes > 0)); then
        hold_still
        copy_image "$draft/data.img"
        [[ $access_type == block ]] || separate "$draft/data.img"
    else
        printf -v rec_created '%(%s)T' -1
    fi
    image=$draft/data.img
    grow_image "$bytes"
    rec_dir=$place rec_source_volume=$source_volume rec_source_snapshot=$source_snapshot
    rec_read_ahead=$read_ahead
    write_record "$draft"
    publish volume "$name" "$place"
    home=$place/$name.volume
    describe_volume "$bytes"
    succeed "$fields"
}

# check_wishes: what `provision` and `getcapacity` have in common.
check_wishes() {
    local key
    for key in "${keys[@]}"; do
        case $key in
            dir | readAheadKiB) ;;
            *) refuse INVALID_ARGUMENT "parameter '$key': is not known; there are dir and readAheadKiB" ;;
        esac
    done
    dir=${dir:-$store}
    check_dir
    [[ -z $read_ahead ]] || check_read_ahead "$read_ahead"
    [[ $access_type =~ ^(mount|block)?$ ]] || refuse INVALID_ARGUMENT "csi/accessType '$access_type': must be mount or block"
    check_fs_type
    # What mkfs needs; a smaller btrfs is made, but cannot grow.
    case $access_type:$fs_type in
        block:*) least=4096 ;;
        *:xfs) least=$((300 << 20)) ;;
        *:btrfs) least=$((256 << 20)) ;;
        *) least=$((4 << 20)) ;;
    esac
}

# Two nodes that write to one file system destroy it. On the node's own disk there is only one.
refuse_modes() {
    is_local || [[ $access_modes != *MULTI_NODE_*WRITER* ]] ||
        refuse INVALID_ARGUMENT "csi/accessModes $access_modes: one node at a time can write to a volume"
}

# choose_size SOURCE_BYTES: sets `bytes` from the request, in whole blocks; without a request as large as the source, or
# 1 GiB.
choose_size() {
    local limit floor=$(($1 > least ? $1 : least))
    read_size request_bytes
    read_size limit_bytes
    limit=$limit_bytes
    bytes=$request_bytes
    if ((bytes == 0)); then
        bytes=$(($1 > 0 ? $1 : 1 << 30))
        ((limit == 0 || bytes <= limit)) || bytes=$((limit / 4096 * 4096))
    fi
    ((bytes >= floor)) || bytes=$floor
    bytes=$(((bytes + 4095) / 4096 * 4096))
    ((limit == 0 || bytes <= limit)) || refuse OUT_OF_RANGE "the volume needs $bytes bytes, more than the limit of $limit"
}

# read_size VARIABLE: makes it a number; 0 when it is empty.
read_size() {
    local -n text=$1
    text=${text:-0}
    [[ $text =~ ^[0-9]+$ ]] || refuse INVALID_ARGUMENT "size '$text': must be a number of bytes"
    # Longer numbers are more than bash can reckon with.
    ((${#text} <= 18)) || {
        [[ $1 == limit_bytes ]] || refuse OUT_OF_RANGE "no volume can have $text bytes"
        text=999999999999999999
    }
    text=$((10#$text))
}

# Answers the volume that is there, if it is what was asked for.
answer_present() {
    local bytes
    bytes=$(stat --format=%s -- "$image") || fail "$image: cannot be looked at"
    read_size request_bytes
    read_size limit_bytes
    ((bytes >= request_bytes)) ||
        refuse ALREADY_EXISTS "volume $name: is there with $bytes bytes, not the $request_bytes that are required"
    ((limit_bytes == 0 || bytes <= limit_bytes)) ||
        refuse ALREADY_EXISTS "volume $name: is there with $bytes bytes, more than the limit of $limit_bytes"
    [[ $rec_source_volume == "$source_volume" && $rec_source_snapshot == "$source_snapshot" ]] ||
        refuse ALREADY_EXISTS "volume $name: is there, made from ${rec_source_volume:+volume }${rec_source_snapshot:+snapshot }${rec_source_volume:-${rec_source_snapshot:-nothing}}"
    [[ $dir -ef $rec_dir ]] || refuse ALREADY_EXISTS "volume $name: is there in directory $rec_dir"
    describe_volume "$bytes"
    succeed "$fields"
}

# Sets `image` to what the volume is to be filled with, and opens it. A snapshot does not change: several copies of
# it may be made at once.
open_source() {
    if [[ -n $source_snapshot ]]; then
        find_kept snapshot "$source_snapshot" || refuse NOT_FOUND "there is no snapshot $source_snapshot"
        open_image --shared
        return
    fi
    find_by_name "$source_volume" || refuse NOT_FOUND "there is no volume $source_volume"
    open_image
    refuse_elsewhere "$source_volume"
}

# Sets `image` to the volume's that somebody else has made, where its options say; 1 if there is none. What lies beside
# a record was provisioned, and is not yet there or not any more.
find_static() {
    is_name "$name" && is_name "${volume:-$name}" && image=$(realpath -- "${dir:-$store}/${volume:-$name}.img") &&
        [[ -s $image && ! -e ${image%/*}/record ]]
}

# find_by_name NAME: sets `image`; 1 when no image is known by this name alone: it was provisioned, is attached, or is in
# the default directory.
find_by_name() {
    local link
    find_provisioned "$1" && return
    is_name "$1" || return 1
    if link=$(readlink "$attached_dir/$1"); then
        image=$link
        if [[ -f $image && -n $(devices) ]]; then return; fi
    fi
    # A link that is left over says nothing of where the volume is now, but makes it doubtful that it is here.
    image=$(realpath -- "$store/$1.img") && [[ -f $image && ${link:-$image} == "$image" ]]
}

# Sets `image` to that of volume `name`; 1 if there is none. Options that name an image name no other, even if that has
# the volume's name. But those that `provision` has answered may be an earlier volume's: the name says which it is now.
find_source() {
    if [[ -z $dir$volume ]]; then
        find_by_name "$name"
    elif ! find_static; then
        [[ $dir/$volume == */"$name.volume/data" ]] && find_provisioned "$name" &&
            [[ ! -e $dir/$volume.img || $dir/$volume.img -ef $image ]]
    else
        home=''
    fi
}

# delete JSON
delete() {
    parse_options "$1"
    # No other can be there.
    is_name "$name" || succeed
    if is_id "$name"; then
        open_store
        lock_name volume "$name"
        if find_provisioned "$name"; then
            open_image
            refuse_attached
            refuse_elsewhere "$name"
            unpublish volume "$name"
            succeed
        fi
    fi
    # Somebody's own image, which a PersistentVolume names.
    image=${dir:-$store}/${volume:-$name}.img
    [[ ! -e $image ]] ||
        refuse FAILED_PRECONDITION "$image: was not provisioned by this driver, and is not deleted; delete it by hand"
    succeed
}

# getvolume JSON
getvolume() {
    local bytes
    parse_options "$1"
    find_node
    if find_provisioned "$name"; then
        bytes=$(stat --format=%s -- "$image") || refuse NOT_FOUND "volume $name: was just deleted"
        describe_volume "$bytes"
    else
        # Without options it would be taken for a volume that CreateVolume has made.
        if [[ -n $dir$volume$size ]] && find_static; then
            bytes=$(stat --format=%s -- "$image")
        else
            # The first `attach` creates it.
            [[ -n $size ]] && bytes=$(numfmt --from=auto "$size") || refuse NOT_FOUND "there is no volume $name"
            bytes=$(((bytes + 4095) / 4096 * 4096))
        fi
        fields=",\"capacityBytes\":${bytes:-0}"
        add_topology
    fi
    other_nodes "$name"
    [[ -z $(devices) ]] || others+=("$node")
    add_nodes "${others[@]}"
    succeed "$fields"
}

# describe_volume BYTES: sets `fields` to what `home` and the rec_… variables say.
describe_volume() {
    quote "$home"
    fields=",\"capacityBytes\":$1,\"options\":{\"dir\":$quoted,\"volume\":\"data\"}"
    fields+=${rec_source_volume:+",\"sourceVolume\":\"$rec_source_volume\""}
    fields+=${rec_source_snapshot:+",\"sourceSnapshot\":\"$rec_source_snapshot\""}
    add_topology
}

# add_topology: `node` is set.
add_topology() {
    if is_local; then fields+=",\"topology\":{\"$node_key\":\"$node\"}"; fi
}

# add_nodes NODE…
add_nodes() {
    local text
    printf -v text ',"%s"' "$@"
    if (($# > 0)); then fields+=",\"nodes\":[${text#,}]"; else fields+=',"nodes":[]'; fi
}

# listvolumes JSON: those that were provisioned. Others have no common place; their PersistentVolumes tell of them.
# Three programs at most, however many there are.
listvolumes() {
    local each bytes device inode path mark found=() text='' i
    local -A attached=() size_of=() key_of=() marks=()
    find_node
    # The paths of devices' files may be those of another mount namespace: the kernel tells inode and device.
    while read -r inode device; do attached["$inode $device"]=yes; done \
        < <(losetup --list --noheadings --output BACK-INO,BACK-MAJ:MIN)
    is_local || for mark in "$store"/attached/*@*; do
        each=${mark##*/}
        [[ ${each##*@} == "$node" ]] || marks[${each%@*}]+=" ${each##*@}"
    done
    for each in "$store"/volumes/*; do [[ ! -f $each/data.img ]] || found+=("$each/data.img"); done
    for ((i = 0; i < ${#found[@]}; i += 1000)); do
        while read -r bytes inode device path; do
            path=${path%/*}
            size_of[${path##*/}]=$bytes
            key_of[${path##*/}]="$inode $(((device >> 8 & 0xfff) | (device >> 32 & ~0xfff))):$(((device & 0xff) | (device >> 12 & ~0xff & 0xffffffff)))"
        done < <(stat --dereference --format='%s %i %d %n' -- "${found[@]:i:1000}")
    done
    for each in "$store"/volumes/*; do
        path=${each##*/}
        fields=''
        if [[ -n ${size_of[$path]-} ]] && read_record "$each"; then
            home=$rec_dir/$path.volume
            describe_volume "${size_of[$path]}"
        else
            # Its disk is not mounted; or it was deleted just now.
            [[ -L $each ]] || continue
        fi
        found=()
        [[ -z ${marks[$path]-} ]] || read -ra found <<<"${marks[$path]}"
        [[ -z ${attached[${key_of[$path]-none}]-} ]] || found+=("$node")
        add_nodes "${found[@]}"
        text+=",{\"volume\":\"$path\"$fields}"
    done
    succeed ",\"volumes\":[${text#,}]"
}

# getcapacity JSON
getcapacity() {
    local place largest room=0
    parse_options "$1"
    check_wishes
    # Where there is no such directory, or on another node, there is no room.
    if here_among "$places" && { [[ $dir != "$store" ]] || open_store; } &&
        place=$(realpath --canonicalize-existing -- "$dir"); then
        measure_room "$place"
        largest_file "$place"
        ((largest <= room)) || largest=$room
    fi
    succeed ",\"availableBytes\":$room,\"maxVolumeBytes\":${largest:-0},\"minVolumeBytes\":$least"
}

# modifyvolume JSON
modifyvolume() {
    local i device value=''
    parse_options "$1"
    if ! is_id "$name"; then refuse NOT_FOUND "there is no volume $name"; fi
    for ((i = 0; i < ${#changed[@]}; i++)); do
        [[ ${changed[i]} == readAheadKiB ]] ||
            refuse INVALID_ARGUMENT "parameter '${changed[i]}': cannot be changed; readAheadKiB can"
        value=${changes[i]}
        check_read_ahead "$value"
    done
    open_store
    lock_name volume "$name"
    if ! find_provisioned "$name"; then
        if ! find_static; then refuse NOT_FOUND "there is no volume $name"; fi
        refuse FAILED_PRECONDITION "$image: was not provisioned by this driver, and cannot be modified"
    fi
    open_image
    if [[ -n $value ]]; then
        rec_read_ahead=$value
        write_record "$home"
        for device in $(devices); do set_read_ahead "$value" "$device"; done
    fi
    succeed
}
