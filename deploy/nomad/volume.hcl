# A volume that is there already, for the driver example.com/lvm. Untested: written from Nomad's documentation.
#
#   nomad volume register volume.hcl
id        = "notes"
name      = "notes"
type      = "csi"
plugin_id = "lvm"

# The volume's name, by which the driver knows it: under FlexVolume the PersistentVolume's.
external_id = "notes"

capability {
  access_mode     = "single-node-writer"
  attachment_mode = "file-system"
}

mount_options {
  fs_type = "ext4"
}

# FlexVolume's options.
context {
  pool = "fast"
}

# FlexVolume's secret, which the driver gets at mount.
secrets {
  password = "changeme"
}
