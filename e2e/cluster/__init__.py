"""A Kubernetes cluster for tests: one port, `provider.Cluster`, with two ways behind it, `local` and `kind`."""
