{{/* Name of everything: the chart's, unless the release has a name of its own, which may have dots. */}}
{{- define "operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if hasPrefix .Release.Name .Chart.Name -}}
{{ .Chart.Name }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | replace "." "-" | trunc 52 | trimAll "-" }}
{{- end -}}
{{- end -}}

{{/* The Service of the operator's metrics, after which a ServiceMonitor names what is scraped. */}}
{{- define "operator.metricsService" -}}
{{ include "operator.fullname" . }}-metrics
{{- end -}}

{{/* Which pods are the operator's. Runs let in pods of this name, so no value changes it. */}}
{{- define "operator.selector" -}}
app.kubernetes.io/name: batch-inference-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Labels that no value changes. */}}
{{- define "operator.ownLabels" -}}
{{ include "operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "operator.labels" -}}
{{ include "operator.ownLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels with more of them: a dict of `root` and `labels`. One of both and commonLabels is there once. */}}
{{- define "operator.labelsAnd" -}}
{{ toYaml (merge (dict) (.labels | default dict) (include "operator.labels" .root | fromYaml)) }}
{{- end -}}

{{- define "operator.metadata" -}}
{{ include "operator.metadataAnd" (dict "root" . "labels" dict) }}
{{- end -}}

{{/* Metadata with more labels: a dict of `root` and `labels`. */}}
{{- define "operator.metadataAnd" -}}
name: {{ include "operator.fullname" .root | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "operator.labelsAnd" . | nindent 2 }}
{{- end -}}

{{- define "operator.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (include "operator.fullname" .) }}
{{- end -}}

{{/* A reference to an image: a dict of `image` and `version`, the tag if the image has none. */}}
{{- define "operator.image" -}}
{{- with .image.registry }}{{ . }}/{{ end -}}
{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .version }}{{ end -}}
{{- end -}}

{{- define "operator.ownImage" -}}
{{ include "operator.image" (dict "image" .Values.image "version" .Chart.AppVersion) }}
{{- end -}}

{{/* A namespace whose jobs are run, given the one to take if they are those of all. */}}
{{- define "operator.someNamespace" -}}
{{- with .root.Values.watchNamespaces }}{{ first . }}{{ else }}{{ .default }}{{ end -}}
{{- end -}}

{{/* Settings of the operator, as variables of its container. */}}
{{- define "operator.environment" -}}
{{- $accounts := .Values.allowed.serviceAccounts | default list -}}
{{- range .Values.runner.serviceAccounts }}{{ $accounts = append $accounts .name }}{{ end -}}
{{- $pullSecrets := list -}}
{{- range .Values.runner.imagePullSecrets }}{{ $pullSecrets = append $pullSecrets .name }}{{ end -}}
{{- $image := dict "image" .Values.runner.image "version" .Chart.AppVersion -}}
- name: BIO_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: BIO_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- $settings := list
  (list "WATCH_NAMESPACES" (join "," .Values.watchNamespaces))
  (list "RUNNER_IMAGE" (include "operator.image" $image))
  (list "RUNNER_IMAGE_PULL_POLICY" .Values.runner.image.pullPolicy)
  (list "RUNNER_IMAGE_PULL_SECRETS" (join "," $pullSecrets))
  (list "ALLOWED_IMAGES" (join "," .Values.allowed.images))
  (list "ALLOWED_SERVICE_ACCOUNTS" (join "," ($accounts | uniq)))
  (list "ALLOWED_URI_SCHEMES" (join "," .Values.allowed.uriSchemes))
  (list "DEFAULT_CPU" .Values.runner.defaultResources.cpu)
  (list "DEFAULT_MEMORY" .Values.runner.defaultResources.memory)
  (list "LEASE_NAME" (include "operator.fullname" .))
  (list "LEADER_ELECTION" .Values.leaderElection.enabled)
  (list "CONCURRENCY" (int64 .Values.concurrency))
  (list "RESYNC_SECONDS" (int64 .Values.resyncSeconds))
  (list "PROGRESS_SECONDS" (int64 .Values.progressSeconds))
  (list "FENCE_SECONDS" (int64 .Values.fenceSeconds))
  (list "SYNC_DEADLINE_SECONDS" (int64 .Values.syncDeadlineSeconds))
  (list "PRE_RUNNING_DEADLINE_SECONDS" (int64 .Values.jobDefaults.preRunningDeadlineSeconds))
  (list "PROGRESS_DEADLINE_SECONDS" (int64 .Values.jobDefaults.progressDeadlineSeconds))
  (list "TTL_SECONDS_AFTER_FINISHED" (int64 .Values.jobDefaults.ttlSecondsAfterFinished))
  (list "NETWORK_POLICIES" .Values.runner.networkPolicies)
  (list "MONITORING_NAMESPACES" (join "," .Values.monitoring.namespaces))
  (list "HEALTH_PORT" 8081)
  (list "LOG_LEVEL" .Values.logLevel)
}}
{{- range $settings }}
- name: BIO_{{ first . }}
  value: {{ last . | toString | quote }}
{{- end }}
{{- end -}}

{{/* Volumes of a pod with the operator's container. */}}
{{- define "operator.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "operator.volumeMounts" -}}
- {name: tmp, mountPath: /tmp}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A list: how replicas are spread. A constraint without a selector would count no pod. */}}
{{- define "operator.spread" -}}
{{- $byNode := dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" -}}
{{- $constraints := .Values.topologySpreadConstraints -}}
{{- if and (gt (int .Values.replicas) 1) (not $constraints) }}{{ $constraints = list $byNode }}{{ end -}}
{{- range $constraints }}
- {{ toYaml . | nindent 2 | trim }}
{{- if not (hasKey . "labelSelector") }}
  labelSelector:
    matchLabels:
      {{- include "operator.selector" $ | nindent 6 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "operator.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "operator.securityContext" -}}
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* What the operator may do in a namespace whose jobs it runs; nothing reads a Secret. */}}
{{- define "operator.rules" -}}
- apiGroups: [batchinference.dev]
  resources: [batchinferencejobs]
  verbs: [list, watch]
- apiGroups: [batchinference.dev]
  resources: [batchinferencejobs/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [services, secrets]
  verbs: [create]
{{- if .Values.runner.networkPolicies }}
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create]
{{- end }}
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
{{- end -}}

{{- define "operator.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "operator.fullname" . | quote }}]
  verbs: [get, update]
{{- end -}}
