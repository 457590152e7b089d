{{/* Cut short where it has to leave room for the name of a driver; it may end in a dot or hyphen then. */}}
{{- define "flexcsi.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $usual := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $usual .Values.fullnameOverride | trunc 40 | trimAll "-." -}}
{{- end -}}

{{/*
What names the release in the whole cluster. Of namespace, full name and CSI name none can have a colon, so that what is
joined by it is like nothing else; names of roles may have one.
*/}}
{{- define "flexcsi.scope" -}}
{{ .Release.Namespace }}:{{ include "flexcsi.fullname" . }}
{{- end -}}

{{/* A directory of the release alone: no CSI name, namespace or full name has an underscore. */}}
{{- define "flexcsi.stateDir" -}}
{{- default (printf "/var/lib/flexcsi/%s_%s" .Release.Namespace (include "flexcsi.fullname" .)) .Values.stateDir -}}
{{- end -}}

{{- define "flexcsi.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "flexcsi.labels" -}}
{{ include "flexcsi.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "flexcsi.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "flexcsi.pluginDir" -}}
{{- $usual := "/usr/libexec/kubernetes/kubelet-plugins/volume/exec" -}}
{{- default (ternary $usual "/drivers" (or .Values.host.enabled .Values.pluginDirOnNode)) .Values.pluginDir -}}
{{- end -}}

{{/*
The drivers, with all that follows from what is said of them, as a YAML list. Fails for what cannot work.
*/}}
{{- define "flexcsi.drivers" -}}
{{- include "flexcsi.checkDirectories" . -}}
{{- include "flexcsi.checkOptions" . -}}
{{- $flexNames := dict -}}
{{- $names := dict -}}
{{- $objects := dict -}}
{{- $classes := dict -}}
{{- $defaultClass := "" -}}
{{- $snapshotClasses := dict -}}
{{- range $index, $driver := .Values.drivers -}}
{{- $flexName := $driver.driver -}}
{{- $where := printf "drivers[%d] (%s)" $index $flexName -}}
{{- if hasKey $flexNames $flexName -}}
{{- fail (printf "%s: %s is the same driver: expected each once" $where (get $flexNames $flexName)) -}}
{{- end -}}
{{- $_ := set $flexNames $flexName (printf "drivers[%d]" $index) -}}
{{- $parts := splitList "/" $flexName -}}
{{- $usual := ternary (printf "%s.%s" (last $parts) (first $parts)) (printf "%s.flexvolume" $flexName) (eq (len $parts) 2) | lower -}}
{{- $name := default $usual $driver.name -}}
{{- if or (gt (len $name) 63) (not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$" $name)) -}}
{{- fail (printf "%s: %s cannot be a CSI name (at most 63 lower-case letters, digits, - and .): set drivers[%d].name" $where $name $index) -}}
{{- end -}}
{{- if hasKey $names $name -}}
{{- fail (printf "%s: %s has the CSI name %s as well: set drivers[%d].name" $where (get $names $name) $name $index) -}}
{{- end -}}
{{- $_ := set $names $name $flexName -}}
{{- $object := replace "." "-" $name -}}
{{- if hasKey $objects $object -}}
{{- fail (printf "%s: its objects would have the names of those of %s: set drivers[%d].name" $where (get $objects $object) $index) -}}
{{- end -}}
{{- $_ := set $objects $object $flexName -}}
{{- $says := default dict $driver.capabilities -}}
{{- $grows := or $driver.expand false -}}
{{- range $class := $driver.storageClasses -}}
{{- if hasKey $classes $class.name -}}
{{- fail (printf "%s: there are two storage classes %s" $where $class.name) -}}
{{- end -}}
{{- $_ := set $classes $class.name true -}}
{{- if $class.default -}}
{{- with $defaultClass -}}
{{- fail (printf "%s: storage class %s: %s is the default already: expected one" $where $class.name .) -}}
{{- end -}}
{{- $defaultClass = $class.name -}}
{{- end -}}
{{- $grows = or $grows $class.allowVolumeExpansion -}}
{{- end -}}
{{- range $class := $driver.snapshotClasses -}}
{{- if hasKey $snapshotClasses $class.name -}}
{{- fail (printf "%s: there are two snapshot classes %s" $where $class.name) -}}
{{- end -}}
{{- $_ := set $snapshotClasses $class.name true -}}
{{- end -}}
{{- $attaches := ne (toString $says.attach) "false" -}}
{{- $onNode := eq (default "controller" $driver.provisionOn) "node" -}}
{{- $provisions := or $says.provision false -}}
{{- $snapshots := and $provisions $says.snapshot | default false -}}
{{- $resizes := and (not $onNode) (or $grows $says.modifyvolume) | default false -}}
{{- if and $onNode (not (and $provisions $says.topology)) -}}
{{- fail (printf "%s: provisionOn: node needs a driver with the capabilities provision and topology" $where) -}}
{{- end -}}
{{- if and $onNode $grows -}}
{{- fail (printf "%s: volumes of provisionOn: node cannot grow, since external-resizer asks one controller for all nodes: leave expand and allowVolumeExpansion out" $where) -}}
{{- end -}}
{{- if and $driver.storageCapacity (not (and $provisions $says.getcapacity $says.topology)) -}}
{{- fail (printf "%s: storageCapacity needs a driver with the capabilities provision, getcapacity and topology" $where) -}}
{{- end -}}
{{- if and $driver.snapshotClasses (not $snapshots) -}}
{{- fail (printf "%s: snapshotClasses need a driver with the capabilities provision and snapshot" $where) -}}
{{- end -}}
{{- $socket := printf "%s/plugins/%s/csi.sock" $.Values.kubeletDir $name -}}
{{- if and $onNode (gt (len $socket) 107) -}}
{{- fail (printf "%s: the socket %s has more than the 107 characters that Linux allows: set a shorter drivers[%d].name" $where $socket $index) -}}
{{- end -}}
{{- $controller := default dict $driver.controller -}}
{{- $central := not $onNode -}}
{{- $sidecars := dict "attacher" $attaches "provisioner" (and $provisions $central) "resizer" $resizes "snapshotter" (and $snapshots $central) -}}
{{- $hasController := or $sidecars.attacher $sidecars.provisioner $sidecars.resizer $sidecars.snapshotter -}}
{{- /* In the node's network controllers may meet on a node. */ -}}
{{- $port := ternary (add $.Values.healthPort 1 $index) (int64 $.Values.healthPort) $.Values.controller.hostNetwork -}}
{{- if and $hasController (gt $port 65535) -}}
{{- fail (printf "healthPort: with controller.hostNetwork, that of %s would be %d: expected at most %d" $where $port (sub 65535 (len $.Values.drivers))) -}}
{{- end -}}
{{- /* With `provisioner-` before it, at most the 63 characters of a container's name. */ -}}
{{- $short := ternary $object (printf "%s-%s" (trunc 42 $object) (sha256sum $object | trunc 8)) (le (len $object) 51) }}
- flexName: {{ $flexName | quote }}
  name: {{ $name | quote }}
  object: {{ $object | quote }}
  short: {{ $short | quote }}
  # `controller-`: no driver's account can be that of the nodes.
  account: {{ printf "%s-controller-%s" (include "flexcsi.fullname" $) $object | quote }}
  port: {{ $port }}
  directory: {{ replace "/" "~" $flexName | quote }}
  executable: {{ last $parts | quote }}
  attaches: {{ $attaches }}
  attachesOnController: {{ and $attaches (eq (default "controller" $driver.attachOn) "controller") }}
  fsGroup: {{ ne (toString $says.fsGroup) "false" }}
  snapshots: {{ $snapshots }}
  modifies: {{ or $says.modifyvolume false }}
  storageCapacity: {{ or $driver.storageCapacity false }}
  ephemeral: {{ or $driver.ephemeral false }}
  seLinuxMount: {{ or $driver.seLinuxMount false }}
  provisions: {{ $provisions }}
  provisionsOnNodes: {{ $onNode }}
  sidecars: {{ toJson $sidecars }}
  hasController: {{ $hasController }}
  config: {{ pick $driver "name" "attachOn" "fsGroupKey" "failures" | toJson }}
  replicas: {{ default 1 $controller.replicas }}
  privileged: {{ or $controller.privileged false }}
  nodeSelector: {{ toJson (default dict $controller.nodeSelector) }}
  hostPaths: {{ toJson (default list $driver.hostPaths) }}
  secrets: {{ toJson (default list $driver.secrets) }}
  storageClasses: {{ toJson (default list $driver.storageClasses) }}
  snapshotClasses: {{ toJson (default list $driver.snapshotClasses) }}
{{- end -}}
{{- end -}}

{{/* The options of `serve` that nodes and controllers share. */}}
{{- define "flexcsi.args" -}}
- --config=/etc/flexcsi/config.yaml
- --kubelet-dir={{ .Values.kubeletDir }}
- --log-level={{ .Values.logLevel }}
- --log-format={{ .Values.logFormat }}
{{- if .Values.host.enabled }}
- --host
- --host-pid={{ .Values.host.pid | int }}
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Of flexcsi itself, both: a broken driver neither restarts it nor holds a rollout up; a wrong option does. */}}
{{- define "flexcsi.probes" -}}
readinessProbe:
  {{- include "flexcsi.healthz" . | nindent 2 }}
  periodSeconds: 5
livenessProbe:
  {{- include "flexcsi.healthz" . | nindent 2 }}
  initialDelaySeconds: 15
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{- define "flexcsi.healthz" -}}
httpGet:
  path: /healthz
  port: {{ .port | int }}
  {{- if .hostNetwork }}
  host: 127.0.0.1
  {{- end }}
{{- end -}}

{{/* Another program of the pod, as root, whose socket it is, and with no other privilege. */}}
{{- define "flexcsi.sidecar" -}}
- name: {{ .name }}
  image: {{ .sidecar.image | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args:
    - --csi-address={{ .address }}
    - --timeout={{ .root.Values.sidecars.timeout }}
    - --v={{ .root.Values.sidecars.logLevel | int }}
    {{- toYaml (concat .args (default list .sidecar.extraArgs)) | nindent 4 }}
  {{- with .env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsUser: 0
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities:
      drop: [ALL]
    seccompProfile:
      type: RuntimeDefault
  resources:
    {{- toYaml .root.Values.sidecars.resources | nindent 4 }}
  volumeMounts:
    {{- toYaml .mounts | nindent 4 }}
{{- end -}}

{{/* What external-provisioner needs to own the CSIStorageCapacity objects. */}}
{{- define "flexcsi.capacityEnv" -}}
- name: NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end -}}

{{- define "flexcsi.nodeNameEnv" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- end -}}
