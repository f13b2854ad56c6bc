"""The Kubernetes operator: from BatchPipeline objects to the pods that run them, and back to a status."""
