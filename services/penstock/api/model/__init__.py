"""The user's objects as typed models: one module per part of the object."""
