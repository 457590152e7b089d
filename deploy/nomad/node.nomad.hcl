# The node side of one driver, on every client. Untested: written from Nomad's documentation.
#
#   nomad job run -var image=registry.example.com/lvm-csi -var driver=example.com~lvm/lvm node.nomad.hcl
#
# Docker has to allow privileged containers (plugin "docker" { config { allow_privileged = true } }).
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

job "lvm-csi-node" {
  type = "system"

  group "node" {
    task "plugin" {
      driver = "docker"

      config {
        image      = var.image
        privileged = true
        # Drivers had the node's network under kubelet.
        network_mode = "host"
        args = [
          "serve",
          "--driver=/drivers/${var.driver}",
          "--mode=node",
          "--endpoint=unix:///csi/csi.sock",
          "--node-id=${node.unique.name}",
          # Nomad's directory for staging and publishing, as the container sees it: all targets are below it.
          "--kubelet-dir=/local/csi",
        ]

        # Records of volumes in use have to survive the container.
        mount {
          type     = "bind"
          source   = "/var/lib/flexcsi"
          target   = "/var/lib/flexcsi"
          readonly = false
        }

        mount {
          type     = "bind"
          source   = "/dev"
          target   = "/dev"
          readonly = false
        }
      }

      csi_plugin {
        id                     = var.plugin_id
        type                   = "node"
        mount_dir              = "/csi"
        stage_publish_base_dir = "/local/csi"
        health_timeout         = "60s"
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
