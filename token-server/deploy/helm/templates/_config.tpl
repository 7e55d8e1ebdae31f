{{- /*
A value in TOML. YAML's numbers arrive as floats. A member that is null is left out, because a later file of
values removes a member in that way.
*/ -}}
{{- define "token-server.toml" -}}
{{- if kindIs "string" . -}}
{{- toJson . -}}
{{- else if kindIs "map" . -}}
{{- $members := list -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $members = append $members (printf "%s = %s" (toJson $key) (include "token-server.toml" $value)) -}}
{{- end -}}
{{- end -}}
{ {{ join ", " $members }} }
{{- else if kindIs "slice" . -}}
{{- $members := list -}}
{{- range . -}}
{{- $members = append $members (include "token-server.toml" .) -}}
{{- end -}}
[{{ join ", " $members }}]
{{- else if kindIs "invalid" . -}}
{{- fail "settings: a member of a list is null, which TOML does not have. Remove it." -}}
{{- else if kindIs "bool" . -}}
{{- . -}}
{{- else if eq (float64 (int64 .)) (float64 .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{- /* The settings that the chart needs, by section. */ -}}
{{- define "token-server.own" -}}
issuer:
  url: {{ .Values.issuer.url | quote }}
listen:
  address: 0.0.0.0:8443
  operations_address: 0.0.0.0:9090
tls:
  certificate: /etc/token-server/tls/tls.crt
  private_key: /etc/token-server/tls/tls.key
store:
  {{- if eq .Values.store.kind "postgres" }}
  url_file: /etc/token-server/store/url
  {{- else if eq .Values.store.kind "clients" }}
  url: file:///etc/token-server/clients/clients.toml
  state: /var/lib/token-server/state.db
  {{- else }}
  url: sqlite:///var/lib/token-server/token-server.db
  {{- end }}
keys:
  sealing_key_file: /etc/token-server/keys/sealing.key
secrets:
  pepper_file: /etc/token-server/keys/pepper.key
limits:
  drain_deadline: {{ printf "%ds" (int .Values.shutdown.drainSeconds) }}
telemetry:
  log_format: json
  log_filter: {{ .Values.logFilter | quote }}
{{- end -}}

{{- /* token-server.toml. Settings that the chart needs cannot be set twice. */ -}}
{{- define "token-server.config" -}}
{{- $own := include "token-server.own" . | fromYaml -}}
{{- range $section, $settings := .Values.settings -}}
{{- range $setting, $value := (kindIs "map" $settings | ternary $settings dict) -}}
{{- if hasKey (get $own $section | default dict) $setting -}}
{{- fail (printf "settings.%s.%s: the chart sets [%s] %s itself. Remove it from settings." $section $setting $section $setting) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $all := mergeOverwrite (deepCopy .Values.settings) $own -}}
{{- /* Lists of tables, such as trusted issuers, stand before the first section. */ -}}
{{- range $name, $tables := $all -}}
{{- if kindIs "slice" $tables -}}
{{ $name }} = {{ include "token-server.toml" $tables }}
{{ end -}}
{{- end -}}
{{- range $section, $settings := $all -}}
{{- if kindIs "map" $settings -}}
[{{ $section }}]
{{ range $setting, $value := $settings -}}
{{- if not (kindIs "invalid" $value) -}}
{{ $setting }} = {{ include "token-server.toml" $value }}
{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The ConfigMap never changes. A new configuration has a new name, so every change is rolled out. */ -}}
{{- define "token-server.configMap" -}}
{{- printf "%s-%s" (include "token-server.fullname" .) (include "token-server.config" . | sha256sum | trunc 10) -}}
{{- end -}}
