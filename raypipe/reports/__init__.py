"""What people read about a generation: values that become JSON and one HTML page. Knows no store."""
