# shellcheck shell=bash
# The JSON argument, and what may be in it.

# parse_options JSON: sets the variables named here; `keys` are the keys of parameters and of a volume's own
# options, `changed` and `changes` the keys and values of csi/parameter/….
#
# kubelet and flexcsi write one flat object of strings, without spaces. Once the escaped backslashes and quotes
# are spelt otherwise, every `"` that is left begins or ends a string; cut there, the text falls into
#     {  key  :  value  ,  key  :  value  }
parse_options() {
    local text=$1 part key value i
    name='' fs_type='' access='' dir='' volume='' size='' flags=''
    request_bytes='' limit_bytes='' source_volume='' source_snapshot='' places='' access_type='' access_modes=''
    snapshot_name='' snapshot_id='' read_ahead=''
    keys=() changed=() changes=()
    text=${text//\\\\/\\u005c}
    text=${text//\\\"/\\u0022}
    # These three characters above ASCII are escaped, too; printf leaves them alone under LC_ALL=C.
    text=${text//\\u2028/$'\xe2\x80\xa8'}
    text=${text//\\u2029/$'\xe2\x80\xa9'}
    text=${text//\\ufffd/$'\xef\xbf\xbd'}
    mapfile -t -d '"' part < <(printf '%s' "$text")
    for ((i = 1; i + 2 < ${#part[@]}; i += 4)); do
        printf -v key '%b' "${part[i]}"
        printf -v value '%b' "${part[i + 2]}"
        case $key in
            kubernetes.io/pvOrVolumeName) name=$value ;;
            kubernetes.io/fsType) fs_type=$value ;;
            kubernetes.io/readwrite) access=$value ;;
            csi/mountOptions) flags=$value ;;
            csi/limitBytes) limit_bytes=$value ;;
            csi/accessType) access_type=$value ;;
            csi/accessModes) access_modes=$value ;;
            csi/sourceVolume) source_volume=$value ;;
            csi/sourceSnapshot) source_snapshot=$value ;;
            csi/topology) places=$value ;;
            csi/snapshotName) snapshot_name=$value ;;
            csi/snapshot) snapshot_id=$value ;;
            csi/parameter/*)
                changed+=("${key#csi/parameter/}")
                changes+=("$value")
                ;;
            requestBytes) request_bytes=$value ;;
            requestMiB | requestGiB) ;;
            # Whatever else the caller may say one day.
            csi/*) ;;
            # What Kubernetes adds: the pod, secrets, the claim's name.
            kubernetes.io/* | k8s.io/* | *.kubernetes.io/* | *.k8s.io/*) ;;
            *)
                keys+=("$key")
                case $key in
                    dir) dir=$value ;;
                    volume) volume=$value ;;
                    size) size=$value ;;
                    readAheadKiB) read_ahead=$value ;;
                esac
                ;;
        esac
    done
    [[ $access == rw ]] || access=ro
}

# read_options JSON [OPTION]: the options of a volume that is attached or mounted. Sets `image` as well. The option is
# one of realpath.
read_options() {
    parse_options "$1"
    is_name "$name" || refuse INVALID_ARGUMENT "volume name '$name': $name_rule"
    check_fs_type
    # A volume that was provisioned is known by its name.
    if [[ -z $dir$volume ]] && find_provisioned "$name"; then return; fi
    find_image "${@:2}"
}

# find_image [OPTION]: sets `image` to where the options say it is, whether it is there or not. Its directory has to be
# there, unless the option, one of realpath, says otherwise.
find_image() {
    local code=''
    dir=${dir:-$store} volume=${volume:-$name}
    is_name "$volume" || refuse INVALID_ARGUMENT "option volume '$volume': $name_rule"
    check_dir
    [[ $size =~ ^([1-9][0-9]*([KMGT]i?)?)?$ ]] ||
        refuse INVALID_ARGUMENT "option size '$size': must be like 64Mi, 1G or 1048576"
    # Only the default directory is created: another that is missing may be on a disk that is not mounted.
    [[ $dir != "$store" ]] || try mkdir --parents "$dir"
    image=$(realpath "$@" -- "$dir/$volume.img" 2>&1) && return
    [[ $image != *': No such file or directory' ]] || code=NOT_FOUND
    refuse "$code" "volume $name: option dir: ${image#realpath: }"
}

check_dir() {
    [[ $dir == /* && $dir != *[[:cntrl:]]* ]] || refuse INVALID_ARGUMENT "option dir '$dir': must be an absolute path"
}

check_fs_type() {
    [[ $fs_type =~ ^(ext[234]|xfs|btrfs)?$ ]] ||
        refuse INVALID_ARGUMENT "fsType '$fs_type': must be ext2, ext3, ext4, xfs, btrfs"
}

check_read_ahead() {
    [[ $1 =~ ^(0|[1-9][0-9]{0,6})$ ]] && (($1 <= 1048576)) ||
        refuse INVALID_ARGUMENT "readAheadKiB '$1': must be a whole number from 0 to 1048576"
}

# Names become file names, and must not lead out of their directory.
is_name() { [[ $1 =~ ^[A-Za-z0-9_-][A-Za-z0-9._+-]*$ ]]; }
readonly name_rule='must consist of letters, digits, ".", "_", "+" and "-", and not begin with "." or "+"'

# is_id TEXT: what can be provisioned under this name; with what is added, it has to fit into a file name.
is_id() { is_name "$1" && ((${#1} <= 128)); }
readonly id_rule="$name_rule, and have at most 128 characters"
