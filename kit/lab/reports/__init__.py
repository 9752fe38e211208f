"""What a twin is worth: against the truth, against other twins, and with more data."""
