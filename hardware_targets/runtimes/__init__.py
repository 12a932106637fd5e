"""Inference runtimes: one file each, class `Runtime`; the folder is the registry."""
