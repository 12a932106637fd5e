"""Student families, one file each; a file with a leading underscore holds a family's torch modules."""
