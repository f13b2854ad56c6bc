"""The lane's second way in: its replay log."""
