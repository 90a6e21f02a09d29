"""What is measured: pipelines, their plugin functions, and the same work written otherwise."""
