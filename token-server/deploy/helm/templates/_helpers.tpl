{{- define "token-server.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- /* The name of all objects: the release's, with the chart's unless it contains it. */ -}}
{{- define "token-server.fullname" -}}
{{- $name := include "token-server.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "token-server.selector" -}}
app.kubernetes.io/name: {{ include "token-server.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "token-server.meta" -}}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "token-server.selector" . | nindent 2 }}
{{- end -}}

{{- define "token-server.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "token-server.fullname" .) -}}
{{- end -}}

{{- define "token-server.tlsSecret" -}}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "token-server.fullname" .)) -}}
{{- end -}}

{{- define "token-server.host" -}}
{{- (urlParse .Values.issuer.url).hostname -}}
{{- end -}}

{{- define "token-server.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "token-server.clientsConfigMap" -}}
{{- .Values.clients.existingConfigMap | default (printf "%s-clients" (include "token-server.fullname" .)) -}}
{{- end -}}
