"""Event time: watermarks, which partition holds them back, and what tables account for."""
