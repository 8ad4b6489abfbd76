"""Commands that measure this project beside its peers, in one run and on one machine."""
