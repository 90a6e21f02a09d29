"""JSON Schemas, installed with the package: the pipeline file (`pipeline.schema.json`)."""
