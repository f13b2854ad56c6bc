"""A Kubernetes of this machine's own processes: built from source modules, no image pulled, no container around it."""
