"""State: rows by key that outlive a batch, and how snapshots of them are written."""
