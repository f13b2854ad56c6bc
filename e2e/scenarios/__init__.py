"""What users do with a pipeline in a cluster, and what happens to it, under load and judged by the checker."""
