"""From a snapshot to the status of the object, and to the Events an admin wants to see. Pure."""
