"""What clients send and receive: Open Inference Protocol v2 and MLflow scoring. Pure."""
