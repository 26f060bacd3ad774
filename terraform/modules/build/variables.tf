variable "name" {
  type = string
}

variable "project_id" {
  type = string
}

variable "project_number" {
  type = string
}

variable "region" {
  type = string
}

variable "release" {
  type = string
}

variable "repository" {
  type = object({
    url                  = string
    app_installation_id  = number
    token_secret_version = string
  })
}

variable "repository_id" {
  type = string
}

variable "registry" {
  type = string
}

variable "cache_id" {
  type = string
}

variable "cache" {
  type = string
}

variable "image_names" {
  type = list(string)
}

variable "source_dir" {
  type = string
}
