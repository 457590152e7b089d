# The controller side of one driver, for drivers that attach or provision. Untested: written from Nomad's documentation.
#
#   nomad job run -var image=registry.example.com/lvm-csi -var driver=example.com~lvm/lvm controller.nomad.hcl
variable "image" {
  type        = string
  description = "flexcsi with the driver in /drivers"
}

variable "driver" {
  type        = string
  description = "the driver in /drivers: <vendor>~<driver>/<driver>"
}

variable "plugin_id" {
  type        = string
  description = "what volumes name as their plugin: the same for controller and nodes"
  default     = "lvm"
}

job "lvm-csi-controller" {
  type = "service"

  group "controller" {
    # Records and locks are one process's own.
    count = 1

    task "plugin" {
      driver = "docker"

      config {
        image = var.image
        args = [
          "serve",
          "--driver=/drivers/${var.driver}",
          "--mode=controller",
          "--endpoint=unix:///csi/csi.sock",
        ]
      }

      csi_plugin {
        id             = var.plugin_id
        type           = "controller"
        mount_dir      = "/csi"
        health_timeout = "60s"
      }

      # Longer than the 25 s for which flexcsi lets running drivers finish.
      kill_timeout = "45s"

      resources {
        cpu    = 100
        memory = 256
      }
    }
  }
}
