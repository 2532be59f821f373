"""What users' tests, and a first look at an installation, can use."""
