"""Topics that others write, read as a log. `front` is the way in."""
