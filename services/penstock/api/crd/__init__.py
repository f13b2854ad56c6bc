"""The custom resource definitions, made from the same models and rules that read a file."""
