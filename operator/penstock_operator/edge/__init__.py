"""What touches the world: the cluster's API, the pods, the clock, and the process that ties them to the pure part."""
