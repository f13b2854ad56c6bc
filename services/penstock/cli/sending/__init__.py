"""Getting every event of a source acknowledged, for `penstock send` and the demo. `sender` is the way in."""
