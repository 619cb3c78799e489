"""What people look at tables with: views for engines, a shell, and a report with pictures."""
