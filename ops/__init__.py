"""What people run beside a flow."""
