{{/* Destinations, each as rules of an egress policy. */}}

{{- define "ticklake.to.kafka" -}}
{{- if .Values.kafka.external.enabled }}
- {{- include "ticklake.to.peers" .Values.kafka.external.peers | nindent 2 }}
  ports:
    {{- range splitList "," .Values.kafka.external.bootstrapServers | uniq }}
    - {protocol: TCP, port: {{ splitList ":" . | last }}}
    {{- end }}
{{- else }}
- to:
    - podSelector:
        matchLabels:
          {{- include "ticklake.brokerLabels" . | nindent 10 }}
  ports:
    - {protocol: TCP, port: {{ include "ticklake.kafka.port" . }}}
{{- end }}
{{- end -}}

{{- define "ticklake.to.store" -}}
{{- if .Values.store.external.enabled }}
- {{- include "ticklake.to.peers" .Values.store.external.peers | nindent 2 }}
  ports:
    - {protocol: TCP, port: {{ include "ticklake.port" .Values.store.external.endpoint }}}
{{- else }}
- to:
    - podSelector:
        matchLabels:
          v1.min.io/tenant: {{ include "ticklake.store.tenant" . }}
  ports:
    - {protocol: TCP, port: 9000}
{{- end }}
{{- end -}}

{{- define "ticklake.to.catalog" -}}
{{- if .Values.catalog.external.enabled }}
- {{- include "ticklake.to.peers" .Values.catalog.external.peers | nindent 2 }}
  ports:
    - {protocol: TCP, port: {{ include "ticklake.port" .Values.catalog.external.uri }}}
{{- else }}
- to:
    - podSelector:
        matchLabels:
          {{- include "ticklake.selectorLabels" . | nindent 10 }}
          app.kubernetes.io/component: catalog
  ports:
    - {protocol: TCP, port: 5432}
{{- end }}
{{- end -}}

{{/* Snowflake's service and, for PUT, the cloud's storage, both by name only; port 80 to check certificates. */}}
{{- define "ticklake.to.warehouse" -}}
{{- if .Values.warehouse.local.enabled }}
- to:
    - podSelector:
        matchLabels:
          {{- include "ticklake.selectorLabels" . | nindent 10 }}
          app.kubernetes.io/component: warehouse
  ports:
    - {protocol: TCP, port: 8080}
{{- else if .Values.warehouse.host }}
- {{- include "ticklake.to.peers" .Values.warehouse.peers | nindent 2 }}
  ports:
    - {protocol: TCP, port: {{ .Values.warehouse.port }}}
{{- else }}
{{- include "ticklake.to.internet" (dict "root" . "ports" (list 443 80)) }}
{{- end }}
{{- end -}}

{{/* Addresses outside the cluster. Arguments: root, ports. */}}
{{- define "ticklake.to.internet" -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: {{ append .root.Values.networkPolicy.privateAddresses (include "ticklake.linkLocal" .) | uniq | toJson }}
  ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end -}}

{{- define "ticklake.to.apiServer" -}}
- to:
    {{- range .Values.networkPolicy.apiServer.addresses }}
    - ipBlock:
        cidr: {{ . }}
        {{- if eq . "0.0.0.0/0" }}
        except: [{{ include "ticklake.linkLocal" $ }}]
        {{- end }}
    {{- end }}
  ports:
    {{- range .Values.networkPolicy.apiServer.ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end -}}

{{- define "ticklake.to.metadata" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "ticklake.postgresLabels" . | nindent 10 }}
  ports:
    - {protocol: TCP, port: 5432}
{{- end -}}

{{/* Head of a rule towards the peers named, or towards any pod and address: an external part can be anywhere. */}}
{{- define "ticklake.to.peers" -}}
to:
  {{- $anywhere := list
        (dict "ipBlock" (dict "cidr" "0.0.0.0/0" "except" (list (include "ticklake.linkLocal" .))))
        (dict "namespaceSelector" (dict)) }}
  {{- . | default $anywhere | toYaml | nindent 2 }}
{{- end -}}

{{/* Where clouds serve a node's own credentials: nothing of ours may go there. */}}
{{- define "ticklake.linkLocal" -}}
169.254.0.0/16
{{- end -}}

{{- define "ticklake.brokerLabels" -}}
strimzi.io/cluster: {{ include "ticklake.fullname" . }}
strimzi.io/name: {{ include "ticklake.fullname" . }}-kafka
{{- end -}}

{{/* Port of a URL: http, https or postgresql; empty is Amazon S3, which is https. */}}
{{- define "ticklake.port" -}}
{{- $url := urlParse . -}}
{{- if regexMatch ":[0-9]+$" $url.host -}}
{{- splitList ":" $url.host | last -}}
{{- else -}}
{{- get (dict "http" 80 "postgresql" 5432) $url.scheme | default 443 -}}
{{- end -}}
{{- end -}}

{{- define "ticklake.postgresLabels" -}}
app.kubernetes.io/name: postgresql
app.kubernetes.io/instance: {{ .Values.airflow.release }}
{{- end -}}

{{- define "ticklake.airflowLabels" -}}
tier: airflow
release: {{ .Values.airflow.release }}
{{- end -}}

{{/* Head of a policy. Arguments: root, name. */}}
{{- define "ticklake.policyHead" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "ticklake.fullname" .root }}-{{ .name }}
  labels:
    {{- include "ticklake.labels" .root | nindent 4 }}
{{- end -}}

{{/* Selects the pods of the stages named. Arguments: root, stages; role (of Spark) if only those. */}}
{{- define "ticklake.stageSelector" -}}
matchLabels:
  {{- include "ticklake.selectorLabels" .root | nindent 2 }}
  {{- with .role }}
  spark-role: {{ . }}
  {{- end }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: {{ .stages | toJson }}
{{- end -}}
