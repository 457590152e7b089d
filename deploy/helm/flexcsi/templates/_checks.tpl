{{/* What the schema cannot say: values that contradict each other, or the chart. */}}

{{/* Fails for a directory, `path`, that cannot be mounted in the pod, or hides what is there: root, where, path. */}}
{{- define "flexcsi.checkMount" -}}
{{- $fixed := dict "/dev" "the node's devices" "/proc" "its processes" "/etc/flexcsi" "its configuration" "/csi" "its socket" -}}
{{- if .root.Values.selinux -}}
{{- $_ := set $fixed "/sys/fs/selinux" "with selinux" -}}
{{- $_ := set $fixed "/etc/selinux" "with selinux" -}}
{{- end -}}
{{- range $own, $what := $fixed -}}
{{- if include "flexcsi.overlap" (list $.path $own) -}}
{{- fail (printf "%s: %s cannot be mounted, since the pod has %s (%s): expected a directory that is neither in it nor above it" $.where $.path $own $what) -}}
{{- end -}}
{{- end -}}
{{- range $programs := list "/app" "/bin" "/sbin" "/lib" "/lib64" "/usr/bin" "/usr/sbin" "/usr/lib" "/usr/local/bin" -}}
{{- if hasPrefix (print $.path "/") (print $programs "/") -}}
{{- fail (printf "%s: %s cannot be mounted: it would hide %s of the image, with programs that flexcsi and the drivers need" $.where $.path $programs) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* `yes` when one of two paths is the other, or lies in it. */}}
{{- define "flexcsi.overlap" -}}
{{- $one := print (index . 0) "/" -}}
{{- $other := print (index . 1) "/" -}}
{{- if or (hasPrefix $one $other) (hasPrefix $other $one) -}}yes{{- end -}}
{{- end -}}

{{- define "flexcsi.checkDirectories" -}}
{{- $kubelet := .Values.kubeletDir -}}
{{- $state := include "flexcsi.stateDir" . -}}
{{- $plugins := include "flexcsi.pluginDir" . -}}
{{- include "flexcsi.checkMount" (dict "root" . "where" "kubeletDir" "path" $kubelet) -}}
{{- include "flexcsi.checkMount" (dict "root" . "where" "stateDir" "path" $state) -}}
{{- if or (hasPrefix "/tmp/" (print $state "/")) (hasPrefix "/var/tmp/" (print $state "/")) -}}
{{- fail (printf "stateDir: nodes clean %s up: expected a directory that stays, such as one in /var/lib" $state) -}}
{{- end -}}
{{- /* What is mounted below kubelet's directory, Bidirectional as that is, would be mounted on the node as well. */ -}}
{{- if include "flexcsi.overlap" (list $state $kubelet) -}}
{{- fail (printf "stateDir: %s and kubeletDir, %s, lie one in the other: expected a directory of flexcsi's own" $state $kubelet) -}}
{{- end -}}
{{- if and .Values.pluginDirOnNode .Values.host.enabled -}}
{{- fail "pluginDirOnNode: host.enabled runs the drivers on the node, pluginDirOnNode in the container: expected one of them" -}}
{{- end -}}
{{- if include "flexcsi.overlap" (list $state $plugins) -}}
{{- fail (printf "stateDir: %s and pluginDir, %s, lie one in the other: expected a directory of flexcsi's own" $state $plugins) -}}
{{- end -}}
{{- if .Values.pluginDirOnNode -}}
{{- include "flexcsi.checkMount" (dict "root" . "where" "pluginDir" "path" $plugins) -}}
{{- if hasPrefix (print $plugins "/") (print $kubelet "/") -}}
{{- fail (printf "pluginDir: kubeletDir, %s, lies in %s: expected the directory with <vendor>~<driver>/<driver>" $kubelet $plugins) -}}
{{- end -}}
{{- end -}}
{{- range $index, $driver := .Values.drivers -}}
{{- range $at, $path := $driver.hostPaths -}}
{{- $where := printf "drivers[%d].hostPaths[%d]" $index $at -}}
{{- include "flexcsi.checkMount" (dict "root" $ "where" $where "path" $path) -}}
{{- range $own, $what := dict $kubelet "kubeletDir" $state "stateDir" $plugins "pluginDir" "/var/lib/flexcsi" "flexcsi's records" -}}
{{- if include "flexcsi.overlap" (list $path $own) -}}
{{- fail (printf "%s: %s cannot be mounted, since the pod has %s (%s): expected a directory that is neither in it nor above it" $where $path $own $what) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Fails for an option that the chart gives: where, args, and own: option → the value that it follows from. */}}
{{- define "flexcsi.checkArgs" -}}
{{- range $index, $arg := .args -}}
{{- $option := regexFind "^--[^=]+" $arg -}}
{{- with get $.own (trimPrefix "--" $option) -}}
{{- fail (printf "%s[%d]: %s is for the chart to give: it follows from %s" $.where $index $option .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "flexcsi.checkOptions" -}}
{{- $own := dict
  "attach-on" "drivers[].attachOn" "config" "drivers" "driver" "drivers" "endpoint" "kubeletDir"
  "host" "host.enabled" "host-pid" "host.pid" "http-endpoint" "healthPort" "kubelet-dir" "kubeletDir"
  "log-format" "logFormat" "log-level" "logLevel" "mode" "drivers[].provisionOn" "name" "drivers[].name"
  "node-id" "the release" "only" "drivers" "plugin-dir" "pluginDir" "registration" "the release" "state-dir" "stateDir" -}}
{{- include "flexcsi.checkArgs" (dict "where" "extraArgs" "args" .Values.extraArgs "own" $own) -}}
{{- $own := dict
  "csi-address" "the release" "enable-capacity" "drivers[].storageCapacity" "leader-election" "the release"
  "leader-election-namespace" "the release" "node-deployment" "drivers[].provisionOn" "timeout" "sidecars.timeout"
  "v" "sidecars.logLevel" -}}
{{- range $name := list "attacher" "provisioner" "resizer" "snapshotter" -}}
{{- $sidecar := get $.Values.sidecars $name -}}
{{- include "flexcsi.checkArgs" (dict "where" (printf "sidecars.%s.extraArgs" $name) "args" $sidecar.extraArgs "own" $own) -}}
{{- end -}}
{{- /* A node with the name of another would take its volumes. */ -}}
{{- $seen := dict "NODE_NAME" "it is the node's, and the chart's to give" "CSI_ENDPOINT" "the chart says where the sockets are" -}}
{{- range $index, $variable := .Values.env -}}
{{- with get $seen $variable.name -}}
{{- fail (printf "env[%d]: %s cannot be set: %s" $index $variable.name .) -}}
{{- end -}}
{{- $_ := set $seen $variable.name (printf "env[%d] sets it" $index) -}}
{{- end -}}
{{- end -}}

{{/*
Fails where the DaemonSet that is there has its records elsewhere: with volumes in use they would be lost. Sees the
cluster with `helm install` and `upgrade`, nothing with `helm template`.
*/}}
{{- define "flexcsi.checkRecords" -}}
{{- $state := include "flexcsi.stateDir" . -}}
{{- $name := printf "%s-node" (include "flexcsi.fullname" .) -}}
{{- with lookup "apps/v1" "DaemonSet" .Release.Namespace $name -}}
{{- range .spec.template.spec.volumes -}}
{{- if and (eq .name "state") .hostPath -}}
{{- if ne .hostPath.path $state -}}
{{- fail (printf "stateDir: DaemonSet %s has its records of volumes in use in %s, not in %s: expected stateDir: %s; with no volume in use on any node, delete the DaemonSet before the change" $name .hostPath.path $state .hostPath.path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
