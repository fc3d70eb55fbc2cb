{{/*
A SparkApplication's spec. Pods come from templates, which need no webhook; the operator sets cores, memory and
service accounts in them. Arguments: root, stage.
*/}}
{{- define "ticklake.spark.spec" -}}
{{- $root := .root -}}
{{- $own := index $root.Values.stages .stage | default dict -}}
{{- $fullname := include "ticklake.fullname" $root -}}
{{- $image := include "ticklake.image" (dict "root" $root "image" "spark-apps") -}}
type: Python
mode: cluster
sparkVersion: {{ $root.Values.spark.version | quote }}
image: {{ $image }}
imagePullPolicy: {{ index $root.Values.images "spark-apps" "pullPolicy" }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{ . | toJson }}
{{- end }}
mainApplicationFile: local:///opt/ticklake/run_{{ replace "-" "_" .stage }}.py
sparkConf:
  {{- include "ticklake.spark.conf" . | trim | nindent 2 }}
driver:
  serviceAccount: {{ $fullname }}-{{ .stage }}
  {{- include "ticklake.spark.size" $own.driver | nindent 2 }}
  template:
    {{- include "ticklake.spark.driver" . | nindent 4 }}
executor:
  # The driver's account, for what it is to a cloud's store; executors get no token of the cluster's.
  serviceAccount: {{ $fullname }}-{{ .stage }}
  instances: {{ $own.executor.instances }}
  deleteOnTermination: true
  {{- include "ticklake.spark.size" $own.executor | nindent 2 }}
  template:
    {{- include "ticklake.spark.executor" . | nindent 4 }}
{{- end -}}

{{- define "ticklake.spark.size" -}}
cores: {{ .cores }}
coreRequest: {{ .coreRequest | quote }}
coreLimit: {{ .coreLimit | quote }}
memory: {{ .memory }}
memoryOverhead: {{ .memoryOverhead }}
{{- with .javaOptions }}
javaOptions: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Fixed ports, so that network policies can name them. */}}
{{- define "ticklake.spark.conf" -}}
{{- $conf := dict
  "spark.driver.port" "7078"
  "spark.driver.blockManager.port" "7079"
  "spark.blockManager.port" "7080"
  "spark.ui.port" "4040"
  "spark.kubernetes.driver.reusePersistentVolumeClaim" "false" -}}
{{- if include "ticklake.store.ca" .root }}
{{- $trust := "-Djavax.net.ssl.trustStore=/etc/ticklake/trust/store.p12 -Djavax.net.ssl.trustStorePassword=ticklake" }}
{{- $_ := set $conf "spark.driver.defaultJavaOptions" $trust }}
{{- $_ := set $conf "spark.executor.defaultJavaOptions" $trust }}
{{- end }}
{{- if .root.Values.spark.encryptTraffic }}
{{- $_ := set $conf "spark.authenticate" "true" }}
{{- $_ := set $conf "spark.network.crypto.enabled" "true" }}
{{- end }}
{{- if and .root.Values.monitoring.enabled .root.Values.monitoring.spark }}
{{- /* On the driver's page, with its executors'; the application's name would be new at each start. */ -}}
{{- $_ := set $conf "spark.ui.prometheus.enabled" "true" }}
{{- $_ := set $conf "spark.sql.streaming.metricsEnabled" "true" }}
{{- $_ := set $conf "spark.metrics.namespace" (replace "-" "_" .stage) }}
{{- $_ := set $conf "spark.metrics.conf.*.sink.prometheusServlet.class" "org.apache.spark.metrics.sink.PrometheusServlet" }}
{{- $_ := set $conf "spark.metrics.conf.*.sink.prometheusServlet.path" "/metrics/prometheus" }}
{{- end }}
{{- if .root.Values.spark.history.enabled }}
{{- $_ := set $conf "spark.eventLog.enabled" "true" }}
{{- $_ := set $conf "spark.eventLog.dir" (printf "s3a://%s/spark-events" .root.Values.store.bucket) }}
{{- $_ := set $conf "spark.eventLog.rolling.enabled" "true" }}
{{- $_ := set $conf "spark.eventLog.rolling.maxFileSize" "16m" }}
{{- end }}
{{- range $key, $value := .root.Values.spark.conf }}
{{- $_ := set $conf $key $value }}
{{- end }}
{{- range $key, $value := dig .stage "sparkConf" dict .root.Values.stages }}
{{- $_ := set $conf $key $value }}
{{- end }}
{{- range $key, $value := $conf }}
{{ $key }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- define "ticklake.spark.labels" -}}
{{ include "ticklake.stageLabels" . }}
spark-role: {{ .role }}
{{- end -}}

{{- define "ticklake.spark.driver" -}}
{{- $spec := index (include "ticklake.stages" .root | fromYaml) .stage -}}
metadata:
  labels:
    {{- include "ticklake.spark.labels" (dict "root" .root "stage" .stage "role" "driver") | nindent 4 }}
  annotations:
    checksum/settings: {{ include "ticklake.settings" .root | sha256sum }}
    {{- if eq $spec.runs "stream" }}
    prometheus.io/scrape: "true"
    prometheus.io/port: "9100"
    prometheus.io/path: /metrics
    {{- end }}
spec:
  automountServiceAccountToken: true
  enableServiceLinks: false
  terminationGracePeriodSeconds: 30
  securityContext:
    {{- include "ticklake.podSecurity" "spark-apps" | nindent 4 }}
  {{- with include "ticklake.placement" .root }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with include "ticklake.spark.trust" . }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    - name: spark-kubernetes-driver
      # The result where it ends well, the last lines of its log where it does not.
      terminationMessagePolicy: FallbackToLogsOnError
      {{- include "ticklake.spark.container" . | nindent 6 }}
      {{- if eq $spec.runs "stream" }}
      ports:
        - {name: metrics, containerPort: 9100}
      {{- include "ticklake.spark.probes" . | nindent 6 }}
      {{- end }}
      envFrom:
        {{- include "ticklake.envFrom" .root | nindent 8 }}
      env:
        {{- include "ticklake.env" . | nindent 8 }}
        {{- if ne $spec.runs "stream" }}
        # Airflow reads the result from the driver's state.
        - name: TICKLAKE_XCOM_FILE
          value: /dev/termination-log
        {{- end }}
        - name: TICKLAKE_SPARK_UI
          value: "true"
  volumes:
    {{- include "ticklake.spark.volumes" . | nindent 4 }}
{{- end -}}

{{- define "ticklake.spark.executor" -}}
metadata:
  labels:
    {{- include "ticklake.spark.labels" (dict "root" .root "stage" .stage "role" "executor") | nindent 4 }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    {{- include "ticklake.podSecurity" "spark-apps" | nindent 4 }}
  {{- with include "ticklake.placement" .root }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with include "ticklake.spread" (dict "root" .root "labels" (include "ticklake.spark.labels" (dict "root" .root "stage" .stage "role" "executor"))) }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with include "ticklake.spark.trust" . }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    - name: spark-kubernetes-executor
      {{- include "ticklake.spark.container" . | nindent 6 }}
      env:
        - {name: HOME, value: /tmp}
        {{- include "ticklake.env.catalog" . | nindent 8 }}
  volumes:
    {{- include "ticklake.spark.volumes" . | nindent 4 }}
{{- end -}}

{{- define "ticklake.spark.container" -}}
image: {{ include "ticklake.image" (dict "root" .root "image" "spark-apps") }}
securityContext:
  {{- include "ticklake.containerSecurity" . | nindent 2 }}
volumeMounts:
  {{- include "ticklake.volumeMounts" . | nindent 2 }}
  - {name: work, mountPath: /opt/spark/work-dir}
  {{- if include "ticklake.store.ca" .root }}
  - {name: trust, mountPath: /etc/ticklake/trust, readOnly: true}
  {{- end }}
{{- end -}}

{{- define "ticklake.spark.volumes" -}}
{{ include "ticklake.volumes" . }}
- name: work
  emptyDir: {}
{{- if include "ticklake.store.ca" .root }}
- name: trust
  emptyDir: {}
{{- end }}
{{- end -}}

{{/* Java reads no PEM: the store's authority goes into a trust store first. It holds nothing secret. */}}
{{- define "ticklake.spark.trust" -}}
{{- if include "ticklake.store.ca" .root }}
initContainers:
  - name: trust
    image: {{ include "ticklake.image" (dict "root" .root "image" "spark-apps") }}
    imagePullPolicy: {{ index .root.Values.images "spark-apps" "pullPolicy" }}
    command:
      - keytool
      - -importcert
      - -noprompt
      - -alias
      - store
      - -file
      - /etc/ticklake/store-ca/ca.crt
      - -keystore
      - /etc/ticklake/trust/store.p12
      - -storetype
      - PKCS12
      - -storepass
      - ticklake
    securityContext:
      {{- include "ticklake.containerSecurity" . | nindent 6 }}
    resources:
      requests: {cpu: 50m, memory: 64Mi}
      limits: {cpu: 500m, memory: 256Mi}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      - {name: store-ca, mountPath: /etc/ticklake/store-ca, readOnly: true}
      - {name: trust, mountPath: /etc/ticklake/trust}
{{- end }}
{{- end -}}
