"""MLflow: a sweep mirrored while it runs, and made whole afterwards."""
