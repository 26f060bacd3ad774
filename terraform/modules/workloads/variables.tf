variable "publisher_space" {
  description = "The publisher's namespace."
  type        = string
}

variable "variant" {
  description = "Which of the rendered files: what starts the Jobs, and where snapshots lie."
  type = object({
    trigger = string
    store   = string
  })
}

variable "targets" {
  type = map(object({
    id            = string
    chain         = string
    chain_id      = string
    database      = string
    pruning       = string
    permalink     = string
    disk_size_gb  = number
    node_image    = string
    formats       = list(string)
    bootstrap_url = string
    bootstrap_key = string
    node = object({
      cpu    = string
      memory = string
      binary = string
    })
  }))
}

variable "settings" {
  description = "What the placeholders of all namespaces stand for."
  type        = map(string)
}

variable "target_json" {
  description = "Each target as an object of the workers' targets file."
  type        = map(string)
}

variable "old_public_keys" {
  description = "What signed before a rotation."
  type        = list(string)
}

variable "rendered" {
  description = "Where script/render-k8s wrote Kustomize's output."
  type        = string
}
