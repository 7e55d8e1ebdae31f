{{- /* Combinations that would start and not work. The schema rejects what is wrong in itself. */ -}}
{{- define "token-server.validate" -}}
{{- $v := .Values -}}
{{- if not $v.issuer.url -}}
{{- fail "issuer.url is required: the URL by which clients and verifiers reach the server." -}}
{{- end -}}
{{- $postgres := eq $v.store.kind "postgres" -}}
{{- $clients := eq $v.store.kind "clients" -}}
{{- if and (gt (int $v.replicas) 1) (not $postgres) -}}
{{- fail (printf "replicas: %d replicas need store.kind postgres. With %s, each would have a store of its own." (int $v.replicas) $v.store.kind) -}}
{{- end -}}
{{- if and $postgres (not $v.store.postgres.existingSecret) -}}
{{- fail "store.postgres.existingSecret is required with store.kind postgres: a Secret with the database's URL." -}}
{{- end -}}
{{- if and (not $postgres) $v.store.postgres.existingSecret -}}
{{- fail (printf "store.postgres.existingSecret has no effect with store.kind %s. Set store.kind to postgres." $v.store.kind) -}}
{{- end -}}
{{- if and $clients (not $v.clients.declared) (not $v.clients.existingConfigMap) -}}
{{- fail "clients.declared or clients.existingConfigMap is required with store.kind clients." -}}
{{- end -}}
{{- if and $v.clients.declared $v.clients.existingConfigMap -}}
{{- fail "clients.declared and clients.existingConfigMap exclude each other." -}}
{{- end -}}
{{- if and (not $clients) (or $v.clients.declared $v.clients.existingConfigMap $v.clients.existingSecret) -}}
{{- fail (printf "clients has no effect with store.kind %s. Set store.kind to clients, or apply the file with `token-server client apply`." $v.store.kind) -}}
{{- end -}}
{{- if and $v.tls.existingSecret $v.tls.certManager.enabled -}}
{{- fail "tls.existingSecret and tls.certManager exclude each other: cert-manager would overwrite the Secret." -}}
{{- end -}}
{{- if not (or $v.tls.existingSecret $v.tls.certManager.enabled) -}}
{{- fail "tls.existingSecret or tls.certManager is required: the server does not serve in plaintext." -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name is required with tls.certManager.enabled." -}}
{{- end -}}
{{- $shortest := add (int $v.shutdown.pauseSeconds) (int $v.shutdown.drainSeconds) -}}
{{- if le (int $v.shutdown.graceSeconds) (int $shortest) -}}
{{- fail (printf "shutdown.graceSeconds must be over %d: Kubernetes would kill the pod before the requests in flight have finished." (int $shortest)) -}}
{{- end -}}
{{- if and $v.monitoring.serviceMonitor.enabled $v.monitoring.podMonitor.enabled -}}
{{- fail "monitoring.serviceMonitor and monitoring.podMonitor exclude each other: each replica would be scraped twice." -}}
{{- end -}}
{{- if and $v.monitoring.serviceMonitor.enabled (not $v.headlessService.enabled) $postgres -}}
{{- fail "monitoring.serviceMonitor needs headlessService.enabled, whose addresses are all replicas." -}}
{{- end -}}
{{- $routes := or $v.gateway.httpRoute.enabled $v.gateway.grpcRoute.enabled -}}
{{- if and $routes (not $v.gateway.parentRefs) -}}
{{- fail "gateway.parentRefs is required with a route: the Gateway that it belongs to." -}}
{{- end -}}
{{- if and $v.gateway.httpRoute.enabled $v.gateway.grpcRoute.enabled -}}
{{- if or (not $v.gateway.grpcRoute.hostnames) (has (include "token-server.host" .) $v.gateway.grpcRoute.hostnames) -}}
{{- fail "gateway.grpcRoute.hostnames must be other hosts than the issuer's: a gateway accepts one kind of route for a host. httpRoute also carries gRPC." -}}
{{- end -}}
{{- end -}}
{{- if and $v.ingress.enabled $v.gateway.httpRoute.enabled -}}
{{- fail "ingress and gateway.httpRoute exclude each other: both would serve the issuer's host." -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.annotations) -}}
{{- fail "ingress.annotations is required: without one for the protocol, the controller sends plaintext to a TLS port." -}}
{{- end -}}
{{- if and (eq $v.service.type "ClusterIP") $v.service.externalTrafficPolicy -}}
{{- fail "service.externalTrafficPolicy has no effect with service.type ClusterIP." -}}
{{- end -}}
{{- if and (not $v.serviceAccount.create) (not $v.serviceAccount.name) -}}
{{- fail "serviceAccount.name is required without serviceAccount.create." -}}
{{- end -}}
{{- end -}}

{{- /* True if a cluster answers. `helm template` and Argo CD render without one. */ -}}
{{- define "token-server.hasCluster" -}}
{{- if lookup "v1" "Secret" .Release.Namespace "" }}yes{{ end -}}
{{- end -}}
