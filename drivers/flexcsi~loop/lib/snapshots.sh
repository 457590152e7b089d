# shellcheck shell=bash
# The verbs of snapshots. A snapshot is a copy of its own, beside the image: it needs its volume no more.

# snapshot JSON
snapshot() {
    local place bytes blocks i
    parse_options "$1"
    is_id "$snapshot_name" || refuse INVALID_ARGUMENT "snapshot name '$snapshot_name': $id_rule"
    for ((i = 0; i < ${#changed[@]}; i++)); do
        case ${changed[i]} in
            *.kubernetes.io/* | *.k8s.io/*) ;;
            *) refuse INVALID_ARGUMENT "parameter '${changed[i]}': is not known; snapshots have none" ;;
        esac
    done
    here_among "$places" || refuse RESOURCE_EXHAUSTED "snapshots of this driver are on node $node only, not in $places"
    open_store
    lock_name snapshot "$snapshot_name"
    if find_kept snapshot "$snapshot_name"; then
        [[ $rec_source_volume == "$name" ]] ||
            refuse ALREADY_EXISTS "snapshot $snapshot_name: is there, of volume $rec_source_volume and not of $name"
        answer_snapshot
    fi

    find_source || refuse NOT_FOUND "there is no volume $name"
    open_image
    refuse_elsewhere "$name"
    place=${image%/*}
    [[ -z $home ]] || place=${place%/*}
    refuse_taken "$place/$snapshot_name.snapshot"
    hold_still
    read -r bytes blocks < <(stat --format='%s %b' -- "$image") || fail "$image: cannot be looked at"
    # What a program writes meanwhile may fill the copy.
    [[ -n $moving ]] || bytes=$((blocks * 512))
    reserve snapshot "$snapshot_name" "$place" "$bytes"
    clear_record
    copy_image "$draft/data.snapshot"
    rec_dir=$place rec_source_volume=$name
    write_record "$draft"
    publish snapshot "$snapshot_name" "$place"
    image=$place/$snapshot_name.snapshot/data.snapshot
    answer_snapshot
}

answer_snapshot() {
    local bytes
    bytes=$(stat --format=%s -- "$image") || fail "$image: cannot be looked at"
    describe_snapshot "$snapshot_name" "$bytes"
    succeed "$fields"
}

# describe_snapshot NAME BYTES: sets `fields` from the rec_… variables. Without a topology: in CSI 1.13 that of
# snapshots is alpha, and csi-sanity 5.6.0 compares it in a way in which no two are equal. Restoring a snapshot on
# another node fails with a code by which the scheduler tries the next.
describe_snapshot() {
    fields=",\"snapshot\":\"$1\",\"sourceVolume\":\"$rec_source_volume\",\"sizeBytes\":$2,\"creationTime\":$rec_created"
}

# deletesnapshot JSON
deletesnapshot() {
    parse_options "$1"
    is_id "$snapshot_id" || succeed
    open_store
    lock_name snapshot "$snapshot_id"
    find_kept snapshot "$snapshot_id" || succeed
    open_image
    unpublish snapshot "$snapshot_id"
    succeed
}

# listsnapshots JSON
listsnapshots() {
    local each bytes path found=() text='' i
    local -A size_of=()
    find_node
    for each in "$store"/snapshots/*; do [[ ! -f $each/data.snapshot ]] || found+=("$each/data.snapshot"); done
    for ((i = 0; i < ${#found[@]}; i += 1000)); do
        while read -r bytes path; do
            path=${path%/*}
            size_of[${path##*/}]=$bytes
        done < <(stat --dereference --format='%s %n' -- "${found[@]:i:1000}")
    done
    for each in "$store"/snapshots/*; do
        path=${each##*/}
        # Of one whose disk is not mounted the time, which is required, is not known.
        [[ -n ${size_of[$path]-} ]] && read_record "$each" || continue
        describe_snapshot "$path" "${size_of[$path]}"
        text+=",{${fields#,}}"
    done
    succeed ",\"snapshots\":[${text#,}]"
}
