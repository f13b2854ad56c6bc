"""Generated from protos/penstock/v1 by `make generate`: the only wire contract between services."""
