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

variable "targets" {
  type = map(object({
    max_age_hours = number
    paused        = bool
  }))
}

variable "dead_letter_subscription" {
  type = string
}

variable "subscriptions" {
  type = map(object({
    worker = string
    topic  = string
    target = string
    name   = string
  }))
}

variable "emails" {
  type = list(string)
}

variable "budget" {
  type = number
}

variable "billing_account" {
  type = string
}
