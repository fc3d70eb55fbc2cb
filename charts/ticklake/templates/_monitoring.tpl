{{/* What the monitors have in common. */}}

{{/* Head of a monitor, a rule or a dashboard. Arguments: root, kind, name. */}}
{{- define "ticklake.monitoring.head" -}}
apiVersion: monitoring.coreos.com/v1
kind: {{ .kind }}
metadata:
  name: {{ include "ticklake.fullname" .root }}-{{ .name }}
  labels:
    {{- include "ticklake.labels" .root | nindent 4 }}
    {{- with .root.Values.monitoring.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* A target's job is this prefix and its component, whatever the release is called: alerts go by it. */}}
{{- define "ticklake.monitoring.job" -}}
- sourceLabels: [__meta_kubernetes_pod_label_app_kubernetes_io_component]
  targetLabel: job
  replacement: {{ . }}-$1
{{- end -}}

{{/* The components that serve /metrics on port 9100 and are to run, as a JSON list. */}}
{{- define "ticklake.monitoring.components" -}}
{{- $found := list -}}
{{- range $name, $spec := include "ticklake.stages" . | fromYaml -}}
{{- $own := index $.Values.stages $name | default dict -}}
{{- if and (has $spec.runs (list "deployment" "stream")) (get $own "enabled" | toString | ne "false") -}}
{{- $found = append $found $name -}}
{{- end -}}
{{- end -}}
{{- $found | sortAlpha | toJson -}}
{{- end -}}

{{/* What alerts may be about: components of ours that run, parts of Kafka and the store with metrics, and what is always there. */}}
{{- define "ticklake.monitoring.alertComponents" -}}
{{- $found := concat (include "ticklake.monitoring.components" . | fromJsonArray) (list "platform" "volumes" "disks" "batch") -}}
{{- if and .Values.monitoring.kafka (not .Values.kafka.external.enabled) }}{{ $found = append $found "kafka" }}{{ end -}}
{{- if and .Values.monitoring.store (not .Values.store.external.enabled) }}{{ $found = append $found "store" }}{{ end -}}
{{- $found | toJson -}}
{{- end -}}
