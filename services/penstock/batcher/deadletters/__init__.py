"""Letters for what could not be landed, durable before the offset moves."""
