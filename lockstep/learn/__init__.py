"""The exercise."""
