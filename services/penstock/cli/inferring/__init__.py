"""From a sample of events to a commented pipeline, for `penstock infer`."""
