{{/* Settings of all stages, as data of a ConfigMap. Nothing here is secret. */}}
{{- define "ticklake.settings" -}}
TICKLAKE_LOG_LEVEL: {{ .Values.settings.logLevel | quote }}
TICKLAKE_LOG_FORMAT: json
# A new pod's network policies are in force only some seconds after its start.
TICKLAKE_START_WAIT_SECONDS: "30"
TICKLAKE_CALENDAR: {{ .Values.settings.calendar | quote }}
TICKLAKE_METRICS_PORT: "9100"
TICKLAKE_LIVE_NAMESPACE: {{ .Values.settings.liveNamespace | quote }}
TICKLAKE_KAFKA_BOOTSTRAP_SERVERS: {{ include "ticklake.kafka.bootstrapServers" . | quote }}
TICKLAKE_KAFKA_SECURITY_PROTOCOL: {{ include "ticklake.kafka.securityProtocol" . | quote }}
TICKLAKE_KAFKA_SASL_MECHANISM: {{ ternary .Values.kafka.external.saslMechanism "SCRAM-SHA-512" .Values.kafka.external.enabled | quote }}
TICKLAKE_STORE_ENDPOINT: {{ include "ticklake.store.endpoint" . | quote }}
TICKLAKE_STORE_REGION: {{ .Values.store.region | quote }}
TICKLAKE_STORE_BUCKET: {{ .Values.store.bucket | quote }}
{{- with .Values.warehouse }}
{{- if .account }}
TICKLAKE_WAREHOUSE_ACCOUNT: {{ .account | quote }}
{{- end }}
TICKLAKE_WAREHOUSE_USER: {{ .user | quote }}
TICKLAKE_WAREHOUSE_ROLE: {{ .role | quote }}
TICKLAKE_WAREHOUSE_WAREHOUSE: {{ .warehouse | quote }}
TICKLAKE_WAREHOUSE_DATABASE: {{ .database | quote }}
{{- end }}
{{- with include "ticklake.warehouse" . | fromJson }}
{{- if .host }}
TICKLAKE_WAREHOUSE_HOST: {{ .host | quote }}
TICKLAKE_WAREHOUSE_PORT: {{ .port | quote }}
TICKLAKE_WAREHOUSE_PROTOCOL: {{ .protocol | quote }}
{{- end }}
{{- end }}
{{- end -}}
