{{- /* The pod of the Deployment and the StatefulSet. */ -}}
{{- define "token-server.pod" -}}
{{- $state := ne .Values.store.kind "postgres" -}}
metadata:
  labels:
    {{- include "token-server.selector" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "token-server.serviceAccount" . }}
  automountServiceAccountToken: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  # Longer than the pause and [limits] drain_deadline.
  terminationGracePeriodSeconds: {{ .Values.shutdown.graceSeconds }}
  topologySpreadConstraints:
    {{- with .Values.topologySpreadConstraints }}
    {{- toYaml . | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: topology.kubernetes.io/zone
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "token-server.selector" . | nindent 10 }}
    {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: token-server
      image: {{ include "token-server.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: ["serve", "--config", "/etc/token-server/token-server.toml"]
      {{- with .Values.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: grpc
          containerPort: 8443
        - name: operations
          containerPort: 9090
      lifecycle:
        preStop:
          # The time until every node has stopped sending new connections here.
          sleep:
            seconds: {{ .Values.shutdown.pauseSeconds }}
      # [store] start_wait is a minute: the server waits that long for its database.
      startupProbe:
        httpGet:
          path: /readyz
          port: operations
        periodSeconds: 1
        failureThreshold: 90
      readinessProbe:
        httpGet:
          path: /readyz
          port: operations
        periodSeconds: 5
      livenessProbe:
        httpGet:
          path: /healthz
          port: operations
        periodSeconds: 10
        failureThreshold: 3
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: ["ALL"]
      volumeMounts:
        - name: config
          mountPath: /etc/token-server/token-server.toml
          subPath: token-server.toml
          readOnly: true
        - name: tls
          mountPath: /etc/token-server/tls
          readOnly: true
        - name: keys
          mountPath: /etc/token-server/keys
          readOnly: true
        {{- if eq .Values.store.kind "postgres" }}
        - name: store
          mountPath: /etc/token-server/store
          readOnly: true
        {{- end }}
        {{- if eq .Values.store.kind "clients" }}
        # A folder, not a subPath: a changed ConfigMap arrives here.
        - name: clients
          mountPath: /etc/token-server/clients
          readOnly: true
        {{- with .Values.clients.existingSecret }}
        - name: client-secrets
          mountPath: /etc/token-server/client-secrets
          readOnly: true
        {{- end }}
        {{- end }}
        {{- if $state }}
        - name: state
          mountPath: /var/lib/token-server
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "token-server.configMap" . }}
    - name: tls
      secret:
        secretName: {{ include "token-server.tlsSecret" . }}
        defaultMode: 0440
    - name: keys
      secret:
        secretName: {{ .Values.keys.secretName }}
        defaultMode: 0440
    {{- if eq .Values.store.kind "postgres" }}
    - name: store
      secret:
        secretName: {{ .Values.store.postgres.existingSecret }}
        defaultMode: 0440
        items:
          - key: {{ .Values.store.postgres.key }}
            path: url
    {{- end }}
    {{- if eq .Values.store.kind "clients" }}
    - name: clients
      configMap:
        name: {{ include "token-server.clientsConfigMap" . }}
    {{- with .Values.clients.existingSecret }}
    - name: client-secrets
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
