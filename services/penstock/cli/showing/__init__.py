"""What the commands show: pure functions from statuses, rows and letters to text."""
