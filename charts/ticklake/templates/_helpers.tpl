{{/* Names, labels and images. */}}

{{- define "ticklake.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 30 | trimSuffix "-" -}}
{{- end -}}

{{/* Prefix of every object's name; short enough for "-stream-analytics" and what operators append to it. */}}
{{- define "ticklake.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 30 | trimSuffix "-" -}}
{{- else if contains (include "ticklake.name" .) .Release.Name -}}
{{- .Release.Name | trunc 30 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "ticklake.name" .) | trunc 30 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "ticklake.labels" -}}
{{ include "ticklake.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: ticklake
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "ticklake.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ticklake.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of the pods of one stage. Arguments: root, stage. */}}
{{- define "ticklake.stageLabels" -}}
{{ include "ticklake.selectorLabels" .root }}
app.kubernetes.io/component: {{ .stage }}
app.kubernetes.io/part-of: ticklake
{{- end -}}

{{/* One image reference. Arguments: root, image (a key of .Values.images). */}}
{{- define "ticklake.image" -}}
{{- $image := index .root.Values.images .image -}}
{{- $name := $image.repository -}}
{{- if .root.Values.imageRegistry -}}
{{- $name = printf "%s/%s" (trimSuffix "/" .root.Values.imageRegistry) $name -}}
{{- end -}}
{{- if $image.tag -}}
{{- $name = printf "%s:%s" $name $image.tag -}}
{{- end -}}
{{- if $image.digest -}}
{{- $name = printf "%s@%s" $name $image.digest -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/*
"true" where a setting is a secret by its name, or by a password in its value (a URL with a sign-in, an option of Java).
References to Secrets, and to Airflow's own secrets backend, are none. Arguments: name, value.
*/}}
{{- define "ticklake.secretValue" -}}
{{- $plain := regexReplaceAll "[^a-z0-9]+" (.name | lower) "_" -}}
{{- $word := "(password|passwd|passphrase|secret|secret_?key|access_?key|api_?key|private_?key|fernet_?key|token|webhook|webhook_?url|credentials?|jaas_config|sql_alchemy_conn|result_backend|broker_url|metadata_connection)" -}}
{{- $named := or (regexMatch (printf "(^|_)%s$" $word) $plain) (regexMatch "(keypassword|storepassword)$" $plain) (hasPrefix "airflow_conn_" $plain) -}}
{{- $inside := or (regexMatch "://[^/@\\s:]*:[^/@\\s]+@" .value) (regexMatch "(?i)(password|passphrase|secret|token|secret[._]key|access[._]key)=\\S" .value) -}}
{{- $reference := or (contains "secretkeyref" $plain) (regexMatch "kubernetes_(driver|executor)_secrets_" $plain) (regexMatch "^airflow_.*_secret$" $plain) -}}
{{- if and .value (not $reference) (or $named $inside) }}true{{ end -}}
{{- end -}}

{{- define "ticklake.pullSecrets" -}}
{{- range .Values.imagePullSecrets }}
- name: {{ . }}
{{- end }}
{{- end -}}

{{/*
A value of a generated secret that stays what it was: what is in the cluster, else the default handed in. Arguments:
root, secret, key, default.
*/}}
{{- define "ticklake.kept" -}}
{{- $there := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- $data := default dict ($there | default dict).data -}}
{{- if hasKey $data .key -}}
{{- index $data .key -}}
{{- else -}}
{{- .default | b64enc -}}
{{- end -}}
{{- end -}}

{{/* An object of Strimzi's in the cluster, as JSON; {} where there is none, or no Strimzi. Arguments: root, kind, name. */}}
{{- define "ticklake.strimzi" -}}
{{- $version := "kafka.strimzi.io/v1" -}}
{{- $found := dict -}}
{{- if .root.Capabilities.APIVersions.Has (printf "%s/%s" $version .kind) -}}
{{- $found = lookup $version .kind .root.Release.Namespace .name | default dict -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{/* "true" where the templates are rendered against a cluster: only an API server knows this group, no client does. */}}
{{- define "ticklake.onCluster" -}}
{{- if .Capabilities.APIVersions.Has "apiregistration.k8s.io/v1" -}}true{{- end -}}
{{- end -}}

{{/* The operators whose kinds the API server does not know, each with what it is for; empty where all are there. */}}
{{- define "ticklake.missing" -}}
{{- $has := .Capabilities.APIVersions -}}
{{- if and (not .Values.kafka.external.enabled) (not ($has.Has "kafka.strimzi.io/v1/KafkaNodePool")) -}}
Strimzi 1.x (kafka.strimzi.io/v1; or use your own Kafka: kafka.external.enabled=true); {{/**/ -}}
{{- end -}}
{{- if and (not .Values.store.external.enabled) (not ($has.Has "minio.min.io/v2/Tenant")) -}}
the MinIO operator (minio.min.io/v2; or use your own S3: store.external.enabled=true); {{/**/ -}}
{{- end -}}
{{- if and .Values.monitoring.enabled (not ($has.Has "monitoring.coreos.com/v1/PodMonitor")) -}}
the Prometheus operator (monitoring.coreos.com/v1; or go without: monitoring.enabled=false); {{/**/ -}}
{{- end -}}
{{- if not ($has.Has "sparkoperator.k8s.io/v1beta2/SparkApplication") -}}
the Spark operator (sparkoperator.k8s.io/v1beta2); {{/**/ -}}
{{- end -}}
{{- end -}}
