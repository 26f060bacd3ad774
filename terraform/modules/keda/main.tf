# Starts a worker when there is a message for it.

variable "keda_version" {
  type = string
}

resource "kubernetes_namespace_v1" "keda" {
  metadata {
    name = "keda"
    labels = {
      "pod-security.kubernetes.io/enforce" = "restricted"
    }
  }

  timeouts {
    delete = "15m"
  }
}

resource "helm_release" "keda" {
  name       = "keda"
  namespace  = kubernetes_namespace_v1.keda.metadata[0].name
  repository = "https://kedacore.github.io/charts"
  chart      = "keda"
  version    = var.keda_version

  # A cluster that has just been made starts its first node for this.
  timeout = 900

  values = [yamlencode({
    # The namespaces are many and come and go with the targets; without a list KEDA watches all.
    watchNamespace = ""
    # Workload Identity by the operator's own ServiceAccount: see modules/identity.
    serviceAccount = { operator = { name = "keda-operator" } }
    resources = {
      operator     = { requests = { cpu = "100m", memory = "256Mi" }, limits = { memory = "512Mi" } }
      metricServer = { requests = { cpu = "100m", memory = "128Mi" }, limits = { memory = "256Mi" } }
      webhooks     = { requests = { cpu = "50m", memory = "64Mi" }, limits = { memory = "128Mi" } }
    }
  })]
}

output "version" {
  value = helm_release.keda.version
}
