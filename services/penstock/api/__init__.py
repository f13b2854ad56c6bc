"""The user's objects as typed models, with their defaults and cross-field rules."""
