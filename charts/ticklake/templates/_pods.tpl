{{/* What all pods of the platform have in common. */}}

{{/* Pod security. Argument: image (a key of .Values.images); each has a user of its own. */}}
{{- define "ticklake.podSecurity" -}}
{{- $uid := get (dict "spark-apps" 185 "airflow-dags" 50000 "postgresql" 999) . | default 10001 -}}
{{- /* Airflow's image has its files in group 0, as its own chart does. */ -}}
{{- $gid := ternary 0 $uid (eq . "airflow-dags") -}}
runAsNonRoot: true
runAsUser: {{ $uid }}
runAsGroup: {{ $gid }}
fsGroup: {{ $gid }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "ticklake.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where pods may run. */}}
{{- define "ticklake.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with include "ticklake.pullSecrets" . }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Spread over nodes and zones. Arguments: root, labels (of the pods). */}}
{{- define "ticklake.spread" -}}
{{- with .root.Values.topologySpread.keys }}
topologySpreadConstraints:
{{- range . }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $.root.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- $.labels | nindent 8 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The environment of a stage besides the settings that all share. Arguments: root, stage (its name). */}}
{{- define "ticklake.env" -}}
{{- $root := .root -}}
{{- $spec := index (include "ticklake.stages" $root | fromYaml) .stage -}}
{{- $own := index $root.Values.stages .stage | default dict -}}
- name: HOME
  value: /tmp
{{- if $spec.kafka }}
{{- include "ticklake.env.kafka" . }}
{{- end }}
{{- if $spec.store }}
{{- include "ticklake.env.store" . }}
{{- end }}
{{- include "ticklake.env.catalog" . }}
{{- if $spec.metadata }}
- name: TICKLAKE_METADATA_CONNECTION
  valueFrom:
    secretKeyRef: {name: {{ include "ticklake.airflow.secret" $root }}, key: connection}
{{- end }}
{{- if $spec.warehouse }}
{{- include "ticklake.env.warehouse" $root }}
{{- end }}
{{- range $name, $value := merge (dict) ($own.env | default dict) ($spec.env | default dict) }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range $name, $from := merge (dict) ($own.secretEnv | default dict) ($spec.secretEnv | default dict) }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $from.secret }}, key: {{ $from.key }}}
{{- end }}
{{- end -}}

{{- define "ticklake.env.kafka" -}}
{{- if include "ticklake.kafka.ca" .root }}
- name: TICKLAKE_KAFKA_CA_FILE
  value: /etc/ticklake/kafka-ca/ca.crt
{{- end }}
{{- if not .root.Values.kafka.external.enabled }}
{{- $user := printf "%s-%s" (include "ticklake.fullname" .root) .stage }}
- name: TICKLAKE_KAFKA_USERNAME
  value: {{ $user }}
- name: TICKLAKE_KAFKA_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $user }}, key: password}
{{- else }}
{{- with include "ticklake.kafka.externalSecret" . }}
- name: TICKLAKE_KAFKA_USERNAME
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: username}
- name: TICKLAKE_KAFKA_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: password}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ticklake.env.store" -}}
{{- if include "ticklake.store.ca" .root }}
- name: TICKLAKE_STORE_CA_FILE
  value: /etc/ticklake/store-ca/ca.crt
{{- end }}
{{- with include "ticklake.store.userSecret" . }}
- name: TICKLAKE_STORE_ACCESS_KEY
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: access-key}
- name: TICKLAKE_STORE_SECRET_KEY
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: secret-key}
{{- end }}
{{- end -}}

{{/* The catalog, and who the stage is there; nothing for a stage that has no tables. Arguments: root, stage. */}}
{{- define "ticklake.env.catalog" -}}
{{- $catalog := .root.Values.catalog.external -}}
{{- with (index (include "ticklake.stages" .root | fromYaml) .stage).catalog }}
- name: TICKLAKE_CATALOG_URI
  value: {{ include "ticklake.catalog.uri" $.root | quote }}
{{- $secret := printf "%s-catalog-%s" (include "ticklake.fullname" $.root) . }}
{{- if $catalog.enabled }}
{{- $secret = index $catalog.existingSecrets . }}
{{- with $catalog.warehouse }}
- name: TICKLAKE_CATALOG_WAREHOUSE
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- if and $secret (hasPrefix "http" (include "ticklake.catalog.uri" $.root)) }}
{{- range list "credential" "token" }}
- name: TICKLAKE_CATALOG_{{ upper . }}
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ . }}, optional: true}
{{- end }}
{{- else if $secret }}
- name: TICKLAKE_CATALOG_USER
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: username}
- name: TICKLAKE_CATALOG_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: password}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ticklake.env.warehouse" -}}
{{- $warehouse := include "ticklake.warehouse" . | fromJson -}}
{{- with $warehouse.secret }}
{{- if eq $warehouse.auth "key-pair" }}
- name: TICKLAKE_WAREHOUSE_PRIVATE_KEY_FILE
  value: /etc/ticklake/warehouse/private-key
- name: TICKLAKE_WAREHOUSE_PRIVATE_KEY_PASSPHRASE
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: private-key-passphrase, optional: true}
{{- else }}
- name: TICKLAKE_WAREHOUSE_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: password}
{{- end }}
{{- end }}
{{- end -}}

{{/* The Secret with the warehouse's private key; empty where sign-in is by password. */}}
{{- define "ticklake.warehouse.keyPair" -}}
{{- $warehouse := include "ticklake.warehouse" . | fromJson -}}
{{- if eq $warehouse.auth "key-pair" }}{{ $warehouse.secret }}{{ end -}}
{{- end -}}

{{- define "ticklake.envFrom" -}}
- configMapRef:
    name: {{ include "ticklake.fullname" . }}-settings
{{- end -}}

{{/* Volumes of a stage. Arguments: root, stage. */}}
{{- define "ticklake.volumes" -}}
{{- $root := .root -}}
{{- $spec := index (include "ticklake.stages" $root | fromYaml) .stage -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ $root.Values.tmpSizeLimit }}
{{- $kafkaCa := include "ticklake.kafka.ca" $root }}
{{- if and $spec.kafka $kafkaCa }}
{{- with $kafkaCa | fromJson }}
- name: kafka-ca
  secret:
    secretName: {{ .name }}
    items: [{key: {{ .key }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- $storeCa := include "ticklake.store.ca" $root }}
{{- if and $spec.store $storeCa }}
{{- with $storeCa | fromJson }}
- name: store-ca
  {{ .kind }}:
    {{ ternary "secretName" "name" (eq .kind "secret") }}: {{ .name }}
    items: [{key: {{ .key }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- if and $spec.warehouse (include "ticklake.warehouse.keyPair" $root) }}
- name: warehouse
  secret:
    secretName: {{ include "ticklake.warehouse.keyPair" $root }}
    items: [{key: private-key, path: private-key}]
    defaultMode: 0440
{{- end }}
{{- with $spec.config }}
- name: {{ .volume }}
  configMap:
    name: {{ include "ticklake.fullname" $root }}-{{ $.stage }}
{{- end }}
{{- end -}}

{{- define "ticklake.volumeMounts" -}}
{{- $root := .root -}}
{{- $spec := index (include "ticklake.stages" $root | fromYaml) .stage -}}
- {name: tmp, mountPath: /tmp}
{{- if and $spec.kafka (include "ticklake.kafka.ca" $root) }}
- {name: kafka-ca, mountPath: /etc/ticklake/kafka-ca, readOnly: true}
{{- end }}
{{- if and $spec.store (include "ticklake.store.ca" $root) }}
- {name: store-ca, mountPath: /etc/ticklake/store-ca, readOnly: true}
{{- end }}
{{- if and $spec.warehouse (include "ticklake.warehouse.keyPair" $root) }}
- {name: warehouse, mountPath: /etc/ticklake/warehouse, readOnly: true}
{{- end }}
{{- with $spec.config }}
- {name: {{ .volume }}, mountPath: {{ .path }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* Resources of a stage: its own, else the common ones. Arguments: root, stage. */}}
{{- define "ticklake.resources" -}}
{{- dig .stage "resources" "" .root.Values.stages | default .root.Values.resources | toYaml -}}
{{- end -}}

{{/* The one container of a stage that is no Spark application, without probes. Arguments: root, stage, name. */}}
{{- define "ticklake.container" -}}
{{- $spec := index (include "ticklake.stages" .root | fromYaml) .stage -}}
name: {{ .name }}
image: {{ include "ticklake.image" (dict "root" .root "image" $spec.image) }}
imagePullPolicy: {{ (index .root.Values.images $spec.image).pullPolicy }}
command: [{{ .stage }}]
securityContext:
  {{- include "ticklake.containerSecurity" . | nindent 2 }}
envFrom:
  {{- include "ticklake.envFrom" .root | nindent 2 }}
env:
  {{- include "ticklake.env" . | nindent 2 }}
resources:
  {{- include "ticklake.resources" . | nindent 2 }}
volumeMounts:
  {{- include "ticklake.volumeMounts" . | nindent 2 }}
{{- end -}}

{{/* Probes of a long-running stage. A start may wait for Kafka and the store, which is no reason to restart. */}}
{{- define "ticklake.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{/*
Of a driver that runs on. Executors find it by a headless Service, which knows ready pods only, and it has work only once it
has executors: a probe that keeps it from being ready would keep it from ever getting there.
*/}}
{{- define "ticklake.spark.probes" -}}
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  initialDelaySeconds: 180
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}
