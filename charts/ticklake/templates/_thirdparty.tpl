{{/* Pods that operators make for us: as strict as their images allow, which write to their own root file system. */}}

{{- define "ticklake.thirdPartyPod" -}}
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "ticklake.pullSecrets" . }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "ticklake.thirdPartySecurity" -}}
allowPrivilegeEscalation: false
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* A pool of Kafka nodes. Arguments: root, name, roles, pool. */}}
{{- define "ticklake.kafka.pool" -}}
apiVersion: kafka.strimzi.io/v1
kind: KafkaNodePool
metadata:
  name: {{ .name }}
  labels:
    {{- include "ticklake.labels" .root | nindent 4 }}
    app.kubernetes.io/component: kafka
    strimzi.io/cluster: {{ include "ticklake.fullname" .root }}
spec:
  replicas: {{ .pool.replicas }}
  roles: {{ .roles | toJson }}
  storage:
    type: jbod
    volumes:
      - id: 0
        type: persistent-claim
        size: {{ .pool.storage.size }}
        {{- with .pool.storage.class }}
        class: {{ . }}
        {{- end }}
        kraftMetadata: shared
        deleteClaim: false
  resources:
    {{- toYaml .pool.resources | nindent 4 }}
  {{- with .pool.jvmOptions }}
  jvmOptions:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
