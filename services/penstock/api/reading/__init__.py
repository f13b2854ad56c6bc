"""Pipeline files as kubectl reads them, with the line of every value, and errors in people's words."""
