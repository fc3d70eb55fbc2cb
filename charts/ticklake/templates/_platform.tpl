{{/* Where Kafka, the store, the catalog and the warehouse are. */}}

{{/* Names of the live flow, as `ticklake.topics.live_names` has them. */}}
{{- define "ticklake.live" -}}
{{- $space := .Values.settings.liveNamespace -}}
{{- $suffix := ternary (printf ".%s" $space) "" (ne $space "") -}}
{{- $prefix := ternary (printf "accelerated/%s/" $space) "" (ne $space "") -}}
topic: stock-market-realtime{{ $suffix }}
analyticsTopic: stock-market-analytics{{ $suffix }}
archiveGroup: stock-market-archive-group{{ $suffix }}
alertsTopic: stock-market-alerts{{ $suffix }}
alertsStateTopic: stock-market-alerts-state{{ $suffix }}
alertsGroup: stock-market-alerts-group{{ $suffix }}
alertsDelivery: [{{ range $n, $target := list "email" "slack" "webhook" }}{{ if $n }}, {{ end }}stock-market-alerts-delivery-{{ $target }}{{ $suffix }}{{ end }}]
raw: {{ $prefix }}raw/realtime/
processed: {{ $prefix }}processed/realtime/
checkpoints: {{ $prefix }}checkpoints/realtime/
{{- end -}}

{{/* The topics: name, partitions, config. */}}
{{- define "ticklake.topics" -}}
{{- $live := include "ticklake.live" . | fromYaml -}}
{{- $topics := .Values.kafka.topics -}}
- name: stock_market_batch
  spec: {{ $topics.batch | toJson }}
- name: {{ $live.topic }}
  spec: {{ $topics.live | toJson }}
- name: {{ $live.analyticsTopic }}
  spec: {{ $topics.analytics | toJson }}
- name: {{ $live.alertsTopic }}
  spec: {{ $topics.alerts | toJson }}
- name: {{ $live.alertsStateTopic }}
  spec: {{ $topics.alertsState | toJson }}
- name: stock-market-quarantine
  spec: {{ $topics.quarantine | toJson }}
- name: ticklake-check
  spec: {{ $topics.check | toJson }}
{{- end -}}

{{- define "ticklake.kafka.port" -}}
{{- ternary 9093 9092 .Values.kafka.tls -}}
{{- end -}}

{{- define "ticklake.kafka.bootstrapServers" -}}
{{- if .Values.kafka.external.enabled -}}
{{- .Values.kafka.external.bootstrapServers -}}
{{- else -}}
{{- printf "%s-kafka-bootstrap.%s.svc:%s" (include "ticklake.fullname" .) .Release.Namespace (include "ticklake.kafka.port" .) -}}
{{- end -}}
{{- end -}}

{{- define "ticklake.kafka.securityProtocol" -}}
{{- if .Values.kafka.external.enabled -}}
{{- .Values.kafka.external.securityProtocol -}}
{{- else -}}
{{- ternary "SASL_SSL" "SASL_PLAINTEXT" .Values.kafka.tls -}}
{{- end -}}
{{- end -}}

{{/* Secret with the brokers' certificate authority, as {name, key}; empty where none is needed. */}}
{{- define "ticklake.kafka.ca" -}}
{{- if .Values.kafka.external.enabled -}}
{{- with .Values.kafka.external.ca.secret }}{{ dict "name" . "key" $.Values.kafka.external.ca.key | toJson }}{{ end -}}
{{- else if .Values.kafka.tls -}}
{{- dict "name" (printf "%s-cluster-ca-cert" (include "ticklake.fullname" .)) "key" "ca.crt" | toJson -}}
{{- end -}}
{{- end -}}

{{/* The cluster id of Kafka where it has one already, else empty. */}}
{{- define "ticklake.kafka.running" -}}
{{- (include "ticklake.strimzi" (dict "root" . "kind" "Kafka" "name" (include "ticklake.fullname" .)) | fromJson | dig "status" "clusterId" "") -}}
{{- end -}}

{{- define "ticklake.store.tenant" -}}
{{- printf "%s-store" (include "ticklake.fullname" .) -}}
{{- end -}}

{{- define "ticklake.store.endpoint" -}}
{{- if .Values.store.external.enabled -}}
{{- .Values.store.external.endpoint -}}
{{- else -}}
{{- printf "%s://minio.%s.svc" (ternary "https" "http" .Values.store.tenant.tls) .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{/* The store's certificate authority as {kind, name, key}; empty where none is needed. */}}
{{- define "ticklake.store.ca" -}}
{{- $ca := ternary .Values.store.external.ca .Values.store.tenant.ca .Values.store.external.enabled -}}
{{- if or .Values.store.external.enabled .Values.store.tenant.tls -}}
{{- if $ca.secret -}}
{{- dict "kind" "secret" "name" $ca.secret "key" $ca.key | toJson -}}
{{- else if $ca.configMap -}}
{{- dict "kind" "configMap" "name" $ca.configMap "key" $ca.key | toJson -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ticklake.store.adminSecret" -}}
{{- .Values.store.tenant.adminSecret | default (printf "%s-store-admin" (include "ticklake.fullname" .)) -}}
{{- end -}}

{{/* Secret with a stage's store key; empty where the pod's own identity is to be used. Arguments: root, stage. */}}
{{- define "ticklake.store.userSecret" -}}
{{- $own := dig .stage "storeSecret" "" .root.Values.stages -}}
{{- if $own -}}
{{- $own -}}
{{- else if .root.Values.store.external.enabled -}}
{{- .root.Values.store.external.existingSecret -}}
{{- else -}}
{{- printf "%s-store-%s" (include "ticklake.fullname" .root) .stage -}}
{{- end -}}
{{- end -}}

{{- define "ticklake.catalog.uri" -}}
{{- if .Values.catalog.external.enabled -}}
{{- .Values.catalog.external.uri -}}
{{- else -}}
{{- printf "postgresql://%s-catalog.%s.svc:5432/catalog" (include "ticklake.fullname" .) .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{/* Where the warehouse is and how to sign in, as {host, port, protocol, auth, secret}: the local one, or what is named. */}}
{{- define "ticklake.warehouse" -}}
{{- $own := .Values.warehouse -}}
{{- if $own.local.enabled -}}
{{- $name := printf "%s-warehouse" (include "ticklake.fullname" .) -}}
{{- dict "host" (printf "%s.%s.svc" $name .Release.Namespace) "port" 8080 "protocol" "http" "auth" "password" "secret" $name | toJson -}}
{{- else -}}
{{- dict "host" $own.host "port" $own.port "protocol" $own.protocol "auth" $own.auth "secret" $own.existingSecret | toJson -}}
{{- end -}}
{{- end -}}

{{/* Secret with a stage's Kafka user, for external Kafka (keys username, password). Arguments: root, stage. */}}
{{- define "ticklake.kafka.externalSecret" -}}
{{- dig .stage "kafkaSecret" "" .root.Values.stages | default .root.Values.kafka.external.existingSecret -}}
{{- end -}}

{{/* Secret with Airflow's keys and the address of its database. */}}
{{- define "ticklake.airflow.secret" -}}
{{- .Values.airflow.credentials.existingSecret | default (printf "%s-airflow-credentials" (include "ticklake.fullname" .)) -}}
{{- end -}}
