"""gnj: a job queue to embed."""
