"""What is asked of a release before it is published, and what is said of it."""
