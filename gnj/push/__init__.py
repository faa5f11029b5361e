"""Push workers: for each job of a queue an endpoint is called, by whichever server holds the registration."""
