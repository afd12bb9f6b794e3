"""Facts to words: what is decided, stored or passed on is a code with parameters; sentences are made at the edge."""
