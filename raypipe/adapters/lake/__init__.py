"""The lake: objects and Delta tables on S3-compatible storage or a directory."""
