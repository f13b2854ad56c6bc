"""`kubectl penstock`: the same questions and orders as `penstock`, to pipelines in a cluster, with the rights of whoever asks."""
