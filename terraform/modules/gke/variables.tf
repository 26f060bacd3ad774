variable "name" {
  type = string
}

variable "project_id" {
  type = string
}

variable "region" {
  type = string
}

variable "cluster" {
  type = object({
    mode                = string
    machine_type        = string
    min_nodes           = number
    max_nodes           = number
    zone                = string
    authorized_networks = map(string)
  })
}

variable "network" {
  type = string
}

variable "subnetwork" {
  type = string
}

variable "repository_id" {
  type = string
}
