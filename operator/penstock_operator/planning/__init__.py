"""From a snapshot to the actions that bring the cluster closer to what the object asks for. Pure."""
