# shellcheck shell=bash
# Answers, and how tools are run.

# What a call that ends by itself takes away, so that the next one need not: its freeze (copies.sh), its name lock and
# its draft (store.sh). Nothing is taken away when a signal ends it: its tools may still be at work.
frozen='' name_lock='' draft=''

# succeed [FIELDS]: FIELDS is JSON text that begins with a comma.
succeed() {
    trap - EXIT
    clean_up
    printf '{"status":"Success"%s}\n' "${1-}"
    exit 0
}

# fail MESSAGE: not inside $(…), where it would only end the subshell.
fail() { refuse '' "$1"; }

# refuse CODE MESSAGE: fails with one of gRPC's codes, which flexcsi passes on; kubelet ignores it.
refuse() {
    trap - EXIT
    clean_up
    print_failure "$@"
    exit 1
}

print_failure() {
    local text=$2
    quote "${text//[[:cntrl:]]/ }"
    printf '{"status":"Failure",%s"message":%s}\n' "${1:+\"code\":\"$1\",}" "$quoted"
}

clean_up() {
    [[ -z $frozen ]] || thaw
    [[ -z $draft ]] || remove_draft "$draft"
    [[ -z $name_lock ]] || rm --force "$name_lock"
}

# quote TEXT: sets `quoted` to the text as a JSON string. Control characters cannot occur: options with them are
# refused.
quote() {
    quoted=${1//\\/\\\\}
    quoted="\"${quoted//\"/\\\"}\""
}

# try TOOL [ARGUMENT…]: runs a tool. When it fails, so does the call, with the tool's own words.
try() {
    local words status
    words=$("$@" 2>&1)
    status=$?
    ((status == 0)) || tool_failed "$1" "${words:-exit status $status}"
}

# tool_failed TOOL WORDS
tool_failed() {
    local code=''
    case $verb:$2 in
        # Of no other verb: to Kubernetes this code means that the call may still be running.
        provision:*'No space left'* | snapshot:*'No space left'*) code=RESOURCE_EXHAUSTED ;;
        *:*'File too large'*) code=OUT_OF_RANGE ;;
    esac
    refuse "$code" "${image:+$image: }$1: $2"
}
