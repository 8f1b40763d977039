"""The doctor: what is wrong with a run, as data with evidence and a remedy."""
