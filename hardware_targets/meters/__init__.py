"""Energy meters: one file each, class `Meter`; the folder is the registry."""
